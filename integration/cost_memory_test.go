package integration_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// An idle keep-alive connection takes little more memory behind quickack auto, and after a
// request under a route with many options.
func TestMemoryOfIdleConnections(t *testing.T) {
	t.Parallel()
	connections := lab.Long(1000, 10_000)
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
		lines string
	}{{"stock", lab.Stock, ""}, {"auto", lab.Auto, ""}, {"route", lab.Stock, route}} {
		t.Run(test.name, func(t *testing.T) {
			var l lab.Sites
			server := l.Add(t, test.w, lab.Plain, test.lines+"echo_payload")
			caddy := l.Spawn(t)
			open := func(count int) {
				for range count {
					client := server.Dial(t)
					client.Ask(t, client.Send)
				}
			}
			open(100) // what is allocated once for all
			before := caddy.Heap()
			open(connections)
			held[test.name] = (caddy.Heap() - before) / float64(connections)
			t.Logf("%.0f bytes for each idle connection", held[test.name])
		})
	}
	require.LessOrEqual(t, held["auto"]-held["stock"], 256.0)
	require.LessOrEqual(t, held["route"]-held["stock"], 1024.0)
}
