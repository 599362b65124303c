module github.com/caddy-sockopt/caddy-sockopt/bench

go 1.26.0

require (
	github.com/caddy-sockopt/caddy-sockopt v0.0.0
	github.com/dustin/go-humanize v1.1.0
	github.com/prometheus/procfs v0.22.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/sys v0.48.0
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/text v0.42.0 // indirect
)

replace github.com/caddy-sockopt/caddy-sockopt => ../
