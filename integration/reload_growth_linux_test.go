package integration_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestGrowth: configurations whose listener and backend have another address each time
// grow neither the metrics nor the heap, whether somebody reads the metrics or not.
func TestGrowth(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp4", ":0") // any address of 127.0.0.0/8 is a backend
	require.NoError(t, err)
	backend := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(lab.Stars) })}
	go func() { _ = backend.Serve(ln) }()
	defer backend.Close()
	loads := lab.Long(60, 1000)

	for _, scraped := range []bool{true, false} {
		t.Run(fmt.Sprintf("scraped %v", scraped), func(t *testing.T) {
			port := lab.PortOf(lab.Address(t))
			addr := func(net, n int) string { return fmt.Sprintf("127.%d.%d.%d", net, n/200, 1+n%200) }
			config := func(n int) (global, sites string) {
				return "servers {\nlistener_wrappers {\nsockopt {\nmetrics\n}\n}\n}",
					fmt.Sprintf("http://%s:%s {\nbind %[1]s\nsockopt {\nnotsent_lowat 16KiB\n}\nreverse_proxy %[3]s:%[4]s {\ntransport sockopt {\nsocket {\nmetrics\n}\n}\n}\n}",
						addr(1, n), port, addr(2, n), lab.PortOf(ln.Addr().String()))
			}
			global, sites := config(0)
			c := lab.Spawn(t, global, sites)
			one := series(c) // of one configuration
			var heap float64
			for n := 1; n <= loads; n++ {
				c.Reload(config(n))
				transport := &http.Transport{}
				require.NoError(t, lab.Get(t.Context(), &http.Client{Transport: transport}, "http://"+addr(1, n)+":"+port))
				transport.CloseIdleConnections()
				if scraped { // and once more of the configuration before
					require.LessOrEqual(t, series(c), 2*one)
				}
				if n == loads/5 {
					heap = c.Heap()
				}
			}
			end := c.Heap()
			t.Logf("heap: %.0f bytes after %d loads, %.0f after %d", heap, loads/5, end, loads)
			require.Less(t, end, 1.25*heap)
			unread := series(c)
			t.Logf("series: %d of one configuration, %d after %d loads", one, unread, loads)
			// A hundred origins that nobody has read stay: of two for each configuration.
			require.LessOrEqual(t, unread, (100/2+1)*one)
			require.Eventually(t, func() bool { return series(c) == one }, lab.Patience, time.Millisecond, "what was read has gone")
		})
	}
}

// series returns how many series the plugin shows.
func series(c *lab.Running) (n int) {
	_, text := c.API(http.MethodGet, "/metrics", "", "")
	return strings.Count("\n"+text, "\ncaddy_sockopt_")
}
