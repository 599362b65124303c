package integration_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// An idle keep-alive connection takes little more memory behind quickack auto.
func TestMemoryOfIdleConnections(t *testing.T) {
	const connections = 2000
	held := make(map[lab.Wrapping]float64)
	for _, w := range []lab.Wrapping{lab.Stock, lab.Auto} {
		t.Run(w.Name, func(t *testing.T) {
			var l lab.Sites
			server := l.Add(t, w, lab.Plain, "echo_payload")
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
			held[w] = (caddy.Heap() - before) / connections
			t.Logf("%.0f bytes for each idle connection", held[w])
		})
	}
	require.LessOrEqual(t, held[lab.Auto]-held[lab.Stock], 256.0)
}
