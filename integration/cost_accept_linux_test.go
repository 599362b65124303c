package integration_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestAcceptCounts counts the calls of setsockopt(2) that ten options take on a
// connection. The first connections, which may be older than the options of the listening
// socket, get all of them, later ones those that they do not inherit.
func TestAcceptCounts(t *testing.T) {
	const (
		first  = 256 + 44 // at least as many as the wrapper takes for old
		later  = 20
		byGo   = 3 // Go's own, where it leaves keepalive's idle time and count alone
		stocks = 5 // Go's own, behind stock Caddy
	)
	for i, test := range []struct {
		name, godebug string
		options       []string
		all, left     int // calls of the wrapper for each connection
	}{
		// Two of the ten are the listening socket's alone.
		{"usual ten, listening with MPTCP", "multipathtcp=2", lab.TenUsual, 8, 1},
		{"usual ten, listening without", "multipathtcp=0", lab.TenUsual, 8, 0},
		// dscp and ttl are two options each, for IPv4 and IPv6.
		{"costly ten, listening with MPTCP", "multipathtcp=2", lab.TenCostly, 12, 7},
		{"costly ten, listening without", "multipathtcp=0", lab.TenCostly, 12, 2},
		{"costly ten, multipath off", "multipathtcp=2", append([]string{"multipath off"}, lab.TenCostly...), 12, 2},
	} {
		if !lab.IsLong() && i > 0 {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			if strings.HasSuffix(test.name, "with MPTCP") && socket.Sysctl("net.mptcp.enabled") != "1" {
				lab.MissingMPTCP(t)
			}
			t.Setenv("GODEBUG", test.godebug)
			var l lab.Sites
			stock := l.Add(t, lab.Stock, lab.Plain, "echo_payload")
			ten := l.Add(t, lab.Wrapping{Name: "sockopt", Lines: "sockopt" + lab.Block(append([]string{"on_unsupported warn"}, test.options...)...)}, lab.Plain, "echo_payload")
			system := l.Record(t, "setsockopt", func(t *testing.T) {
				for _, site := range []lab.Site{stock, ten} {
					connections := later
					if site == ten {
						connections += first
					}
					for i := range connections {
						client := site.Dial(t) // open until the end, so that no port comes twice
						if i%20 == 19 {        // and the last
							client.Ask(t, client.Send)
						}
					}
				}
			})
			for _, calls := range setsockoptsOfEach(system, stock) {
				require.Equal(t, stocks, calls)
			}
			counted := setsockoptsOfEach(system, ten)
			require.Len(t, counted, first+later)
			require.LessOrEqual(t, counted[0], byGo+test.all)
			for _, calls := range counted[first:] {
				require.Equal(t, byGo+test.left, calls)
			}
			t.Logf("with ten options a connection takes %d calls of setsockopt, the first ones %d, in stock Caddy %d",
				byGo+test.left, counted[0], stocks)
		})
	}
}

// setsockoptsOfEach counts the calls on each connection that a site accepted, in the order of
// their first calls.
func setsockoptsOfEach(system lab.Trace, site lab.Site) (counts []int) {
	client := regexp.MustCompile(fmt.Sprintf(`^setsockopt\(\d+<TCP[^>]*:%s->([^>]*)>`, lab.PortOf(site.Addr)))
	nth := make(map[string]int)
	for _, call := range system {
		match := client.FindStringSubmatch(call)
		if match == nil {
			continue
		}
		i, ok := nth[match[1]]
		if !ok {
			i = len(counts)
			nth[match[1]] = i
			counts = append(counts, 0)
		}
		counts[i]++
	}
	return counts
}
