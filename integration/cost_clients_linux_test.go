package integration_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// What quickack costs with clients that need none of it: system calls on the
// connections and segments both ways. With -v it logs them as tables.
func TestCountsOfWellBehavedClients(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(lab.Stars)
	}))
	t.Cleanup(backend.Close)
	for _, handler := range []struct {
		name, directive string
		requests        int     // to each server
		slack           float64 // what auto may take over plain HTTP, as a multiple of stock
	}{
		{"echo_payload", "echo_payload", lab.Long(100, 1000), 1.05},
		// While this one waits for its backend, net/http reads to learn whether
		// the client leaves, and the kernel sends some acknowledgements by itself.
		{"reverse_proxy", "reverse_proxy " + backend.Listener.Addr().String(), lab.Long(100, 500), 1.15},
	} {
		t.Run(handler.name, func(t *testing.T) {
			var l lab.Sites
			for _, p := range []lab.Protocol{lab.Plain, lab.TLS, lab.H2C} {
				for _, w := range []lab.Wrapping{lab.Stock, lab.Auto, lab.On} {
					if w == lab.On && handler.name != "echo_payload" && !lab.IsLong() {
						continue // it is for the table
					}
					l.Add(t, w, p, handler.directive)
				}
			}
			counted := count(t, &l, handler.requests)

			perRequest := func(count int) string { return fmt.Sprintf("%.3f", float64(count)/float64(handler.requests)) }
			table := lab.NewTable(handler.name+" over", "quickack", "`setsockopt`", "`read`", "segments to Caddy", "segments from Caddy")
			for _, c := range l.All {
				n := counted[c.Protocol][c.Wrapping]
				table.Row(string(c.Protocol), c.Name, perRequest(n.setsockopt), perRequest(n.read), perRequest(n.sent), perRequest(n.received))
			}
			t.Logf("a request:\n\n%s", table)

			stock, auto := counted[lab.Plain][lab.Stock], counted[lab.Plain][lab.Auto]
			require.LessOrEqual(t, auto.setsockopt, stock.setsockopt+handler.requests/100)
			// Whether a read finds the request or parks first is the scheduler's business.
			require.LessOrEqual(t, auto.read, stock.read+handler.requests/2)
			require.LessOrEqual(t, float64(auto.received), handler.slack*float64(stock.received))
			for p, n := range counted {
				if on, ok := n[lab.On]; ok {
					require.GreaterOrEqual(t, on.setsockopt, handler.requests, p)
				}
				// In TLS and HTTP/2 a read can park before the reply leaves: a connection
				// wastes four acknowledgements before it has learned that nobody waits, and
				// shortens the kernel's timer. A busy machine looks like a stall, which costs 24.
				connections := handler.requests / 100
				more := float64(10*connections + 24)
				require.LessOrEqual(t, float64(n[lab.Auto].setsockopt), float64(n[lab.Stock].setsockopt)+more, p)
				require.LessOrEqual(t, float64(n[lab.Auto].received), handler.slack*float64(n[lab.Stock].received)+more, p)
			}
		})
	}
}

// tally is what the requests to a server took: system calls on the connections,
// and segments that the clients sent and received.
type tally struct{ setsockopt, read, sent, received int }

// count asks every server, first under strace for the system calls and then
// without it for the segments.
func count(t *testing.T, l *lab.Sites, requests int) map[lab.Protocol]map[lab.Wrapping]tally {
	t.Helper()
	system := l.Record(t, "setsockopt,read,recvfrom", func(t *testing.T) {
		for _, c := range l.All {
			c.AskInTurn(t, requests)
		}
	})
	l.Spawn(t)
	counted := make(map[lab.Protocol]map[lab.Wrapping]tally)
	for _, c := range l.All {
		conn := c.Descriptor()
		n := tally{
			setsockopt: len(system.Like(`^setsockopt\(` + conn)),
			// How often net/http looks, with a read of one byte, whether the
			// client leaves is the scheduler's business.
			read: len(system.Like(`^(read|recvfrom)\(`+conn)) - len(system.Like(`^read\(`+conn+`.*, 1\) += `)),
		}
		for _, client := range c.AskInTurn(t, requests) {
			received, sent := lab.Segments(t, client.TCP)
			n.received += received
			n.sent += sent
		}
		if counted[c.Protocol] == nil {
			counted[c.Protocol] = make(map[lab.Wrapping]tally)
		}
		counted[c.Protocol][c.Wrapping] = n
	}
	return counted
}
