package sockopt

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// An idle keep-alive connection takes little more memory behind quickack auto.
func TestMemoryOfIdleConnections(t *testing.T) {
	const connections = 2000
	held := make(map[wrapping]float64)
	for _, w := range []wrapping{wrapStock, wrapAuto} {
		t.Run(w.name, func(t *testing.T) {
			var l lineup
			server := l.add(t, w, protocolPlain, "echo_payload")
			caddy := l.spawn(t)
			open := func(count int) {
				for range count {
					client := server.dial(t)
					client.ask(t, client.send)
				}
			}
			open(100) // what is allocated once for all
			before := caddy.heap()
			open(connections)
			held[w] = (caddy.heap() - before) / connections
			t.Logf("%.0f bytes for each idle connection", held[w])
		})
	}
	require.LessOrEqual(t, held[wrapAuto]-held[wrapStock], 256.0)
}

// heap returns the bytes of what lives on the heap of Caddy.
func (c *running) heap() float64 {
	c.t.Helper()
	// What a sync.Pool holds survives one collection.
	c.api(http.MethodGet, "/debug/pprof/heap?gc=1", "", "")
	_, profile := c.api(http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", "", "")
	return figure(c.t, profile, `# HeapAlloc = (\d+)`)
}
