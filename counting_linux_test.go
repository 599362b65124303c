package sockopt

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// What quickack costs with clients that need none of it: system calls on the
// connections and segments both ways. With -v it logs the tables that the README
// shows.
func TestCountsOfWellBehavedClients(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(stars)
	}))
	t.Cleanup(backend.Close)
	for _, handler := range []struct {
		name, directive string
		requests        int     // to each server
		slack           float64 // what auto may take over plain HTTP, as a multiple of stock
	}{
		{"echo_payload", "echo_payload", 2000, 1.01},
		// While this one waits for its backend, net/http reads to learn whether
		// the client leaves, and the kernel sends some acknowledgements by itself.
		{"reverse_proxy", "reverse_proxy " + backend.Listener.Addr().String(), 500, 1.15},
	} {
		t.Run(handler.name, func(t *testing.T) {
			var l lineup
			for _, p := range []protocol{protocolPlain, protocolTLS, protocolH2C} {
				for _, w := range []wrapping{wrapStock, wrapAuto, wrapOn} {
					l.add(t, w, p, handler.directive)
				}
			}
			counted := l.count(t, handler.requests)

			perRequest := func(count int) string { return fmt.Sprintf("%.3f", float64(count)/float64(handler.requests)) }
			table := markdown(handler.name+" over", "quickack", "`setsockopt`", "`read`", "segments to Caddy", "segments from Caddy")
			for _, c := range l.contenders {
				n := counted[c.protocol][c.wrapping]
				table.row(string(c.protocol), c.name, perRequest(n.setsockopt), perRequest(n.read), perRequest(n.sent), perRequest(n.received))
			}
			t.Logf("a request:\n\n%s", table)

			stock, auto := counted[protocolPlain][wrapStock], counted[protocolPlain][wrapAuto]
			require.LessOrEqual(t, auto.setsockopt, stock.setsockopt+handler.requests/100)
			require.LessOrEqual(t, float64(auto.read), handler.slack*float64(stock.read))
			require.LessOrEqual(t, float64(auto.received), handler.slack*float64(stock.received))
			for p, n := range counted {
				require.GreaterOrEqual(t, n[wrapOn].setsockopt, handler.requests, p)
				// In TLS and HTTP/2 a read can park before the reply leaves: one
				// acknowledgement a request, and some for the handshake.
				more := 1.1 * float64(handler.requests)
				require.LessOrEqual(t, float64(n[wrapAuto].setsockopt), float64(n[wrapStock].setsockopt)+more, p)
				require.LessOrEqual(t, float64(n[wrapAuto].received), handler.slack*float64(n[wrapStock].received)+more, p)
			}
		})
	}
}

// tally is what the requests to a server took: system calls on the connections,
// and segments that the clients sent and received.
type tally struct{ setsockopt, read, sent, received int }

// count asks every server, first under strace for the system calls and then
// without it for the segments.
func (l *lineup) count(t *testing.T, requests int) map[protocol]map[wrapping]tally {
	t.Helper()
	system := l.record(t, "setsockopt,read,recvfrom", func(t *testing.T) {
		for _, c := range l.contenders {
			askInTurn(t, c, requests)
		}
	})
	l.spawn(t)
	counted := make(map[protocol]map[wrapping]tally)
	for _, c := range l.contenders {
		conn := c.onServer(t)
		n := tally{
			setsockopt: len(system.like(`^setsockopt\(` + conn)),
			// How often net/http looks, with a read of one byte, whether the
			// client leaves is the scheduler's business.
			read: len(system.like(`^(read|recvfrom)\(`+conn)) - len(system.like(`^read\(`+conn+`.*, 1\) += `)),
		}
		for _, client := range askInTurn(t, c, requests) {
			info, err := socket.Info(client.tcp)
			require.NoError(t, err)
			n.sent += int(info.Segs_out)
			n.received += int(info.Segs_in)
		}
		if counted[c.protocol] == nil {
			counted[c.protocol] = make(map[wrapping]tally)
		}
		counted[c.protocol][c.wrapping] = n
	}
	return counted
}

// askInTurn sends a hundred requests over each of its connections in turn, so
// that each has long parked before its next request.
func askInTurn(t *testing.T, c contender, requests int) []*conversation {
	t.Helper()
	clients := make([]*conversation, requests/100)
	for i := range clients {
		clients[i] = c.dial(t)
	}
	for i := range requests {
		client := clients[i%len(clients)]
		client.ask(t, client.send)
	}
	return clients
}
