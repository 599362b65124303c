module github.com/caddy-sockopt/caddy-sockopt/bench

go 1.26.0

require (
	github.com/caddy-sockopt/caddy-sockopt v0.0.0
	github.com/dustin/go-humanize v1.1.0
	github.com/prometheus/procfs v0.22.0
	github.com/quic-go/quic-go v0.63.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/sys v0.48.0
)

require (
	github.com/quic-go/qpack v0.6.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.57.0 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/text v0.42.0 // indirect
)

replace github.com/caddy-sockopt/caddy-sockopt => ../
