package integration_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestMemoryOfIdleConnections: an idle connection takes little more memory behind quickack auto, and
// after requests under a route with many options: over HTTP/2 several at the same time.
func TestMemoryOfIdleConnections(t *testing.T) {
	t.Parallel()
	const streams = 5
	const route = `sockopt {
		notsent_lowat 16KiB
		send_buffer 1MiB
		congestion reno
		pacing_rate 1GiB
		window_clamp 1MiB
		thin_stream on
		user_timeout 30s
		dscp af21
		priority 3
	}
	`
	held := make(map[string]float64)
	for _, test := range []struct {
		name  string
		w     lab.Wrapping
		p     lab.Protocol
		lines string
	}{
		{"HTTP/1.1, stock", lab.Stock, lab.Plain, ""},
		{"HTTP/1.1, auto", lab.Auto, lab.Plain, ""},
		{"HTTP/2, stock", lab.Stock, lab.H2C, ""},
		{"HTTP/2, route", lab.Stock, lab.H2C, route},
		{"HTTP/2, auto and route", lab.Auto, lab.H2C, route},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := lab.Sites{Options: "timeouts {\nwrite_idle -1s\n}"} // its timers keep streams for a minute
			server := l.Add(t, test.w, test.p, test.lines+"echo_payload")
			caddy := l.Spawn(t)
			connections := lab.Long(2000, 10_000)
			if test.p == lab.H2C {
				connections = lab.Long(1000, 10_000)
			}
			open := func(count int) {
				for range count {
					client := server.Dial(t)
					client.Ask(t, client.Send)
					if test.p != lab.H2C {
						continue
					}
					for range streams {
						require.NoError(t, client.Send())
					}
					for range streams {
						_, err := client.Receive()
						require.NoError(t, err)
					}
				}
			}
			open(100) // what is allocated once for all
			before := caddy.Heap()
			open(connections)
			held[test.name] = (caddy.Heap() - before) / float64(connections)
			t.Logf("%.0f bytes for each idle connection", held[test.name])
		})
	}
	require.LessOrEqual(t, held["HTTP/1.1, auto"]-held["HTTP/1.1, stock"], 256.0)
	require.LessOrEqual(t, held["HTTP/2, route"]-held["HTTP/2, stock"], 1024.0)
	require.LessOrEqual(t, held["HTTP/2, auto and route"]-held["HTTP/2, stock"], 256.0+1024)
}
