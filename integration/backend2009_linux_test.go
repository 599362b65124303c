package integration_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestBackendsOf2009 proxies to servers that have Nagle's algorithm on. Through
// transport sockopt they serve 0.9 of what they serve without it, at the least.
// With -v it logs the table that the README shows.
//
// The figures are medians of measurements in turn: of as many as it takes on a
// machine that is busy with something else, within reason.
func TestBackendsOf2009(t *testing.T) {
	const atLeast, atMost = 5, 25
	for _, server := range []struct {
		name  string
		start func(t testing.TB, addr string, flags ...string)
	}{
		{"Paste", lab.Paste},
		{"http.server", lab.PythonHTTP},
	} {
		t.Run(server.name, func(t *testing.T) {
			nagle, nodelay := lab.Address(t), lab.Address(t)
			server.start(t, nagle)
			server.start(t, nodelay, "--nodelay")
			var l lab.Sites
			add := func(lines string) lab.Site { return l.Add(t, lab.Stock, lab.Plain, "reverse_proxy "+lines) }
			contenders := []lab.Site{
				add(nagle),
				add(nagle + " {\ntransport sockopt\n}"),
				add(nodelay),
			}
			l.Spawn(t)
			for _, c := range contenders {
				require.NoError(t, lab.Get(t.Context(), http.DefaultClient, "http://"+c.Addr))
			}

			table := lab.NewTable("client", "`transport http`", "`transport sockopt`", "`transport http`, TCP_NODELAY on the backend")
			for _, client := range []struct {
				name    string
				measure func(t *testing.T, c lab.Site, stalls bool) float64
			}{
				{"httperf: one connection", func(t *testing.T, c lab.Site, stalls bool) float64 {
					calls := 500
					if stalls {
						calls = 25
					}
					return httperf(t, []string{"--num-conns=1", fmt.Sprintf("--num-calls=%d", calls)}, calls, c.Addr)
				}},
				{"wrk: 32 connections", func(t *testing.T, c lab.Site, _ bool) float64 { return wrk32(t, c.Addr) }},
			} {
				var rates [3][]float64
				median := func(i int) float64 { return lab.Quantile(rates[i], 0.5) }
				for round := range atMost {
					for i := range contenders {
						i = (i + round) % len(contenders)
						if i > 0 || round == 0 { // a timer does not vary
							rates[i] = append(rates[i], client.measure(t, contenders[i], i == 0))
						}
					}
					if round+1 >= atLeast && median(1) >= 0.9*median(2) {
						break
					}
				}
				table.Row(client.name, perSecond(median(0)), perSecond(median(1)), perSecond(median(2)))
				t.Logf("%s: %.1f times transport http, %.3f of TCP_NODELAY on the backend (%d rounds)",
					client.name, median(1)/median(0), median(1)/median(2), len(rates[1]))
				// 50 times, unless Python is at its end before: with 32 connections that
				// wait 44 ms each, or beside the race detector.
				require.Greater(t, median(1), min(50*median(0), 0.8*median(2)))
				require.GreaterOrEqual(t, median(1), 0.9*median(2))
			}
			t.Logf("requests a second to %s:\n\n%s", server.name, table)
		})
	}
}

// TestBackendExample runs examples/backend.Caddyfile with its backend.
func TestBackendExample(t *testing.T) {
	here, at := moved(t, example(t, "backend.Caddyfile"))
	lab.Paste(t, "127.0.0.1"+at[":8092"])
	inprocess.Load(t, here)
	rates := make(map[string]float64)
	for port, calls := range map[string]int{":8090": 100, ":8091": 100, ":8093": 25} {
		rates[port] = httperf(t, []string{"--num-conns=1", fmt.Sprintf("--num-calls=%d", calls)}, calls, "127.0.0.1"+at[port])
	}
	require.Less(t, rates[":8093"], 40.0)
	require.Greater(t, rates[":8090"], 10*rates[":8093"])
	require.Greater(t, rates[":8091"], 10*rates[":8093"])
}

// wrk32 measures with wrk, which checks what comes, over 32 connections.
func wrk32(t *testing.T, addr string) (rate float64) {
	t.Helper()
	output := lab.Play(t, nil, "wrk", "--threads=1", "--connections=32", "--duration=1s", "http://"+addr+"/")
	require.NotContains(t, output, "Non-2xx")
	require.NotRegexp(t, `(connect|read|write) [1-9]`, output)
	return lab.Figure(t, output, `Requests/sec: +(\S+)`)
}
