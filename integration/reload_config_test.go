package integration_test

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

func TestAdaptedConfigurationLoadsUnchanged(t *testing.T) {
	c, _ := serve(t, "sockopt")
	adapted, err := inprocess.Adapt(c.config(
		lab.Wrappers("sockopt"+lab.Block("nodelay on", "quickack auto", "recv_buffer 256KiB", "send_buffer 1MiB", "on_unsupported warn")+"\ntls"),
		fmt.Sprintf("http://%s {\necho_payload 1MiB%s\n}", c.addr, lab.Block("fill x", "content_type text/html", "write_size 1KiB", "flush_headers")),
	))
	require.NoError(t, err)
	status, answer := c.Load("application/json", string(adapted))
	require.Equal(t, http.StatusOK, status, answer)
	_, answer = c.API(http.MethodGet, "/config/", "", "")
	require.JSONEq(t, string(adapted), answer)
}

// TestReloadUnderLoad loads one configuration after another while clients send requests, over
// keep-alive and over new connections, to a site with the plugin and to one
// without it.
//
// Either site drops some connections before a response begins: the kernel resets
// those in the queue of a listening socket that closes, and net/http gives those
// up whose first request it has not read when a server shuts down.
func TestReloadUnderLoad(t *testing.T) {
	stock, ours := newTraffic(lab.Address(t)), newTraffic(lab.Address(t))
	global := func(i int) string {
		options := lab.Block(fmt.Sprintf("recv_buffer %dKiB", 64+i), "quickack "+[]string{"auto", "on", "off"}[i%3])
		_, port, _ := net.SplitHostPort(ours.addr)
		return fmt.Sprintf("servers :%s {\nlistener_wrappers {\nsockopt%s\n}\n}", port, options)
	}
	sites := func(i int) string {
		return fmt.Sprintf("http://%s {\nheader Load %d\necho_payload\n}\nhttp://%s {\nheader Load %d\necho_payload\n}\n",
			stock.addr, i, ours.addr, i)
	}
	c := inprocess.Run(t, global(0), sites(0))
	stock.start(6)
	ours.start(6)
	for i := range lab.Long(20, 200) {
		status, answer := c.Load("text/caddyfile", c.Caddyfile(global(i+1), sites(i+1)))
		require.Equal(t, http.StatusOK, status, answer)
	}
	stock.stop()
	ours.stop()
	t.Logf("stock: %v", stock)
	t.Logf("sockopt: %v", ours)

	require.Zero(t, stock.broken.Load(), stock)
	require.Zero(t, ours.broken.Load(), ours)
	require.Greater(t, ours.served.Load(), int64(50))
	require.LessOrEqual(t, ours.dropped.Load(), stock.dropped.Load()*3/2+50)
}

func TestAdaptedTransportLoadsUnchanged(t *testing.T) {
	c, _ := serve(t, "sockopt")
	adapted, err := inprocess.Adapt(c.config("", fmt.Sprintf("http://%s {\nreverse_proxy 127.0.0.1:9101 {\ntransport sockopt%s\n}\n}", c.addr, lab.Block(
		"dial_timeout 2s", "versions 1.1", "socket {", "nodelay on", "keepalive_idle 30s", "on_unsupported warn", "}"))))
	require.NoError(t, err)
	status, answer := c.Load("application/json", string(adapted))
	require.Equal(t, http.StatusOK, status, answer)
	_, answer = c.API(http.MethodGet, "/config/", "", "")
	require.JSONEq(t, string(adapted), answer)
}
