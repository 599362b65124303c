package integration_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestBackendsOf2009 proxies to servers that have Nagle's algorithm on. With -v it logs a
// table of requests a second, in the long form of 32 connections, too. What transport
// sockopt leaves of the rate without Nagle's algorithm is for the bench.
func TestBackendsOf2009(t *testing.T) {
	t.Parallel()
	for _, server := range []struct {
		name  string
		start func(t testing.TB, addr string, flags ...string)
	}{
		{"Paste", lab.Paste},
		{"http.server", lab.PythonHTTP},
	} {
		if server.name != "Paste" && !lab.IsLong() {
			continue
		}
		t.Run(server.name, func(t *testing.T) {
			nagle, nodelay := lab.Address(t), lab.Address(t)
			server.start(t, nagle)
			server.start(t, nodelay, "--nodelay")
			var l lab.Sites
			add := func(lines string) lab.Site { return l.Add(t, lab.Stock, lab.Plain, "reverse_proxy "+lines) }
			proxies := []lab.Site{
				add(nagle),
				add(nagle + " {\ntransport sockopt\n}"),
				add(nodelay),
			}
			l.Spawn(t)

			table := lab.NewTable("client", "`transport http`", "`transport sockopt`", "`transport http`, TCP_NODELAY on the backend")
			row := func(client string, measure func(addr string) float64) (rates [3][]float64) {
				for i, p := range proxies {
					rates[i] = measureAgain(func() float64 { return measure(p.Addr) })
				}
				table.Row(client, perSecond(lab.Median(rates[0])), perSecond(lab.Median(rates[1])), perSecond(lab.Median(rates[2])))
				return rates
			}
			rates := row("httperf: one connection", func(addr string) float64 { return httperfOne(t, addr) })
			requireStalls(t, rates[0])
			for i := 1; i < len(proxies); i++ {
				requireNoStalls(t, func() float64 { return httperfOne(t, proxies[i].Addr) }, rates[i]...)
			}
			if lab.IsLong() {
				row("wrk: 32 connections", func(addr string) float64 { return wrk32(t, addr) })
			}
			t.Logf("requests a second to %s:\n\n%s", server.name, table)
		})
	}
}

// httperfOne measures requests over one connection.
func httperfOne(t *testing.T, addr string) (rate float64) {
	t.Helper()
	n := lab.Long(30, 50)
	return httperf(t, []string{"--num-conns=1", fmt.Sprintf("--num-calls=%d", n)}, n, addr)
}

// TestBackendExample runs examples/backend.Caddyfile with its backend.
func TestBackendExample(t *testing.T) {
	inprocess.Parallel(t)
	here, at := moved(t, example(t, "backend.Caddyfile"))
	lab.Paste(t, "127.0.0.1"+at[":8092"])
	inprocess.Load(t, here)
	of := func(port string) func() float64 {
		return func() float64 { return httperfOne(t, "127.0.0.1"+at[port]) }
	}
	for _, port := range []string{":8090", ":8091"} {
		requireNoStalls(t, of(port))
	}
	requireStalls(t, measureAgain(of(":8093")))
}

// wrk32 measures with wrk, which checks what comes, over 32 connections.
func wrk32(t *testing.T, addr string) (rate float64) {
	t.Helper()
	output := lab.Play(t, nil, "wrk", "--threads=1", "--connections=32", "--duration=1s", "http://"+addr+"/")
	require.NotContains(t, output, "Non-2xx")
	require.NotRegexp(t, `(connect|read|write) [1-9]`, output)
	return lab.Figure(t, output, `Requests/sec: +(\S+)`)
}
