package sockopt

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/ten"
)

// TestAcceptCounts counts the calls of setsockopt(2) that ten options take: all for
// the first connections, and then those that a connection does not come with.
func TestAcceptCounts(t *testing.T) {
	const (
		connections = inTheMaking + 101 // one of them to learn from
		byStock     = 5                 // Go's own
		byGo        = 3                 // where it leaves keepalive's idle time and count alone
	)
	for _, test := range []struct {
		name, godebug    string
		options          []string
		all, given, left int
	}{
		// Two of the ten are the listening socket's alone.
		{"usual ten, listening with MPTCP", "multipathtcp=2", ten.Usual, 8, 7, 1},
		{"usual ten, listening without", "multipathtcp=0", ten.Usual, 8, 8, 0},
		// Of dscp and ttl, IPv4 and IPv6 have each their own.
		{"dear ten, listening with MPTCP", "multipathtcp=2", ten.Dear, 12, 5, 7},
		{"dear ten, listening without", "multipathtcp=0", ten.Dear, 12, 10, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("GODEBUG", test.godebug)
			var l lineup
			stock := l.add(t, wrapStock, protocolPlain, "echo_payload")
			ten := l.add(t, wrapping{"sockopt", "sockopt" + block(append([]string{"on_unsupported warn"}, test.options...)...)}, protocolPlain, "echo_payload")
			system := l.record(t, "setsockopt", func(t *testing.T) {
				for _, c := range l.contenders {
					for range connections {
						client := c.dial(t)
						client.ask(t, client.send)
						require.NoError(t, client.tcp.Close())
					}
				}
			})
			count := func(c contender) int { return len(system.like(`^setsockopt\(` + c.onServer(t))) }
			require.Equal(t, byStock*connections, count(stock))
			require.Equal(t, (byGo+test.left)*connections+(test.all-test.left)*(inTheMaking+1)+test.given, count(ten))
			t.Logf("with ten options a connection takes %d calls of setsockopt, in stock Caddy %d", byGo+test.left, byStock)
		})
	}
}
