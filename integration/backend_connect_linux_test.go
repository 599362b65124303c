package integration_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestConnectTime: how long a connection to a backend took from its SYN is in a placeholder, in
// GET /sockopt/connections and in the metrics, and stays what it was.
func TestConnectTime(t *testing.T) {
	t.Parallel() // it waits most of the time
	const rtt = 100 * time.Millisecond
	path := lab.NewTestPath(t)
	path.Set(rtt, 0)
	ln, err := path.Listen()
	require.NoError(t, err)
	backend := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = backend.Serve(ln) }()
	t.Cleanup(func() { backend.Close() })
	addr := lab.Address(t)
	caddy := lab.Spawn(t, lab.Wrappers("sockopt"), fmt.Sprintf(`http://%s {
		tcp_info
		reverse_proxy %s {
			header_down Took {%sconnect_time}
			header_down Client x{http.tcp_info.connect_time}
			transport sockopt {
				socket {
					metrics
				}
			}
		}
	}`, addr, ln.Addr(), upstreamTCPInfo))
	var took []string
	client, _ := singleClient(t, false)
	for range 2 {
		resp, err := client.Get("http://" + addr)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, "x", resp.Header.Get("Client"), "of the accepted connection")
		took = append(took, resp.Header.Get("Took"))
	}
	require.Equal(t, took[0], took[1], "the connection is the same")
	seconds, err := strconv.ParseFloat(took[0], 64)
	require.NoError(t, err)
	require.GreaterOrEqual(t, seconds, rtt.Seconds())
	require.Less(t, seconds, 10*rtt.Seconds())

	open := connectionsOf(t, caddy, "?direction=dialed")
	require.Len(t, open.Connections, 1)
	require.InDelta(t, seconds, open.Connections[0]["connect_time"], 1e-9)
	for _, c := range connectionsOf(t, caddy, "?direction=accepted").Connections {
		require.Nil(t, c["connect_time"])
	}

	require.NoError(t, backend.Close())
	label := fmt.Sprintf("upstream=%q", ln.Addr())
	require.NoError(t, lab.Eventually("the metrics of a closed connection", func() (bool, error) {
		count, _ := caddy.Metric("connect_seconds_count", label)
		return count == 1, nil
	}))
	sum, _ := caddy.Metric("connect_seconds_sum", label)
	require.InDelta(t, seconds, sum, 1e-9)
	for _, name := range []string{"snd_mss_bytes", "advmss_bytes", "pmtu_bytes", "rto_seconds", "rcv_wnd_bytes"} {
		count, _ := caddy.Metric(name+"_count", label)
		sum, _ := caddy.Metric(name+"_sum", label)
		require.InDelta(t, 1, count, 0, name)
		require.Positive(t, sum, name)
	}
	marked, known := caddy.Metric("delivered_ce_segments_total", label)
	require.True(t, known)
	require.Zero(t, marked)
}
