package sockopt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAdaptedConfigurationLoadsUnchanged(t *testing.T) {
	c, _ := serve(t, "sockopt")
	adapted, err := adapt(c.config(
		wrappers("sockopt"+block("nodelay on", "quickack auto", "recv_buffer 256KiB", "send_buffer 1MiB", "on_unsupported warn")+"\ntls"),
		fmt.Sprintf("http://%s {\necho_payload 1MiB%s\n}", c.addr, block("fill x", "content_type text/html", "write_size 1KiB", "flush_headers")),
	))
	require.NoError(t, err)
	status, answer := c.load("application/json", string(adapted))
	require.Equal(t, http.StatusOK, status, answer)
	_, answer = c.api(http.MethodGet, "/config/", "", "")
	require.JSONEq(t, string(adapted), answer)
}

// TestReloadUnderLoad loads 200 configurations while clients send requests, over
// keep-alive and over new connections, to a site with the plugin and to one
// without it.
//
// Either site drops some connections before a response begins: the kernel resets
// those in the queue of a listening socket that closes, and net/http gives those
// up whose first request it has not read when a server shuts down.
func TestReloadUnderLoad(t *testing.T) {
	stock, ours := newTraffic(address(t)), newTraffic(address(t))
	global := func(i int) string {
		options := block(fmt.Sprintf("recv_buffer %dKiB", 64+i), "quickack "+[]string{"auto", "on", "off"}[i%3])
		_, port, _ := net.SplitHostPort(ours.addr)
		return fmt.Sprintf("servers :%s {\nlistener_wrappers {\nsockopt%s\n}\n}", port, options)
	}
	sites := func(i int) string {
		return fmt.Sprintf("http://%s {\nheader Load %d\necho_payload\n}\nhttp://%s {\nheader Load %d\necho_payload\n}\n",
			stock.addr, i, ours.addr, i)
	}
	c := run(t, global(0), sites(0))
	stock.start(6)
	ours.start(6)
	for i := range 200 {
		status, answer := c.load("text/caddyfile", config(c.dir, c.admin, global(i+1), sites(i+1)))
		require.Equal(t, http.StatusOK, status, answer)
	}
	stock.stop()
	ours.stop()
	t.Logf("stock: %v", stock)
	t.Logf("sockopt: %v", ours)

	require.Zero(t, stock.broken.Load(), stock)
	require.Zero(t, ours.broken.Load(), ours)
	require.Greater(t, ours.served.Load(), int64(500))
	require.LessOrEqual(t, ours.dropped.Load(), stock.dropped.Load()*3/2+50)
}

// traffic is clients that send requests until they are stopped.
type traffic struct {
	addr    string
	paths   []string // of the requests, in turn
	going   sync.WaitGroup
	stopped chan struct{}

	served  atomic.Int64 // requests with the whole payload
	dropped atomic.Int64 // requests without a byte in response
	broken  atomic.Int64 // all others
	err     atomic.Value // of the last one that broke, as text
}

func newTraffic(addr string, paths ...string) *traffic {
	return &traffic{addr: addr, paths: append(paths, "/"), stopped: make(chan struct{})}
}

func (tr *traffic) String() string {
	return fmt.Sprintf("%d requests served, %d dropped, %d broken: %v",
		tr.served.Load(), tr.dropped.Load(), tr.broken.Load(), tr.err.Load())
}

func (tr *traffic) start(clients int) {
	for i := range clients {
		tr.going.Go(func() { tr.client(i%2 == 0) })
	}
}

func (tr *traffic) stop() {
	close(tr.stopped)
	tr.going.Wait()
}

func (tr *traffic) client(keepAlive bool) {
	transport := &http.Transport{DisableKeepAlives: !keepAlive}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	for i := 0; ; i++ {
		select {
		case <-tr.stopped:
			return
		default:
			tr.request(client, tr.paths[i%len(tr.paths)])
		}
	}
}

func (tr *traffic) request(client *http.Client, path string) {
	answered := false
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotFirstResponseByte: func() { answered = true },
	})
	err := get(ctx, client, "http://"+tr.addr+path)
	switch {
	case err == nil:
		tr.served.Add(1)
	case !answered && !os.IsTimeout(err):
		tr.dropped.Add(1)
	default:
		tr.broken.Add(1)
		tr.err.Store(err.Error())
	}
}

// get fetches the payload.
func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && !bytes.Equal(stars, body) {
		return fmt.Errorf("status %s, body: %.100q", resp.Status, body)
	}
	return err
}
