package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

func TestStatus(t *testing.T) {
	c, _ := serve(t, "sockopt"+lab.Block("nodelay off", "recv_buffer 96KiB"))
	newVisitor(c.addr).get(t)
	s := statusOf(t, c.Running)
	_, answer := c.API(http.MethodGet, "/sockopt/options", "", "")
	var system options.System
	require.NoError(t, json.Unmarshal([]byte(answer), &system))
	require.Equal(t, options.ThisSystem(), system)
	require.Empty(t, s.Transports)

	use := c.use(t)
	require.Equal(t, "srv0", use.Server)
	require.EqualValues(t, 2, use.Counters.Connections)
	require.Zero(t, use.Counters.Unreachable)
	require.Empty(t, use.Counters.Refused)
	require.Len(t, use.Options, 2)
	require.Equal(t, "nodelay off", use.Options[0].Option+" "+use.Options[0].Effective)
	require.Equal(t, "recv_buffer 96KiB", use.Options[1].Option+" "+use.Options[1].Effective)
}

// TestStatusIsReadable holds the names of the answer, which others read.
func TestStatusIsReadable(t *testing.T) {
	c, _ := serve(t, "sockopt"+lab.Block("nodelay on"))
	_, answer := c.API(http.MethodGet, "/sockopt/", "", "")
	var shown struct {
		Listeners []map[string]any `json:"listeners"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &shown))
	require.Len(t, shown.Listeners, 1)
	if runtime.GOOS == "linux" {
		queue, err := json.Marshal(shown.Listeners[0]["accept_queue"])
		require.NoError(t, err)
		require.JSONEq(t, fmt.Sprintf(`{"connections": 0, "limit": %d, "dropped": 0}`, lab.SysctlNumber(t, "net.core.somaxconn")), string(queue))
		delete(shown.Listeners[0], "accept_queue")
	}
	listeners, err := json.Marshal(shown.Listeners)
	require.NoError(t, err)
	quickack, read := "off", ""
	if runtime.GOOS == "linux" {
		quickack, read = "auto", `, "getsockopt": 1`
	}
	require.JSONEq(t, fmt.Sprintf(`[{
		"server": "srv0",
		"address": %q,
		"quickack": %q,
		"metrics": false,
		"options": [{"option": "nodelay", "requested": "on", "effective": "on"%s}],
		"counters": {"connections": 1, "acknowledged": 0, "wasted": 0, "patient": 0, "unreachable": 0, "suspected_stalls": 0, "prevented_waits": 0, "refused": []}
	}]`, c.use(t).Address, quickack, read), string(listeners))
	require.Contains(t, answer, "\n\t\"listeners\": [\n", "people read it as well")
}

func TestStatusErrors(t *testing.T) {
	c, client := serve(t, "sockopt")
	for _, test := range []struct {
		method, path string
		status       int
		want         string
	}{
		{http.MethodPost, "/sockopt/", http.StatusMethodNotAllowed, "method not allowed: POST; use GET"},
		{http.MethodPut, "/sockopt/", http.StatusMethodNotAllowed, "method not allowed: PUT; use GET"},
		{http.MethodPatch, "/sockopt/", http.StatusMethodNotAllowed, "method not allowed: PATCH; use GET"},
		{http.MethodDelete, "/sockopt/", http.StatusMethodNotAllowed, "method not allowed: DELETE; use GET"},
		{http.MethodOptions, "/sockopt/", http.StatusMethodNotAllowed, "method not allowed: OPTIONS; use GET"},
		{http.MethodGet, "/sockopt/" + "srv0", http.StatusNotFound, "resource not found: /sockopt/srv0; there are /sockopt/, /sockopt/connections, /sockopt/peers, /sockopt/findings and /sockopt/options"},
		{http.MethodGet, "/sockopt/" + "options/", http.StatusNotFound, "resource not found: /sockopt/options/; there are /sockopt/, /sockopt/connections, /sockopt/peers, /sockopt/findings and /sockopt/options"},
		{http.MethodPost, "/sockopt/" + "srv0", http.StatusNotFound, "resource not found: /sockopt/srv0; there are /sockopt/, /sockopt/connections, /sockopt/peers, /sockopt/findings and /sockopt/options"},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+c.Admin+test.path, nil)
			require.NoError(t, err)
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, test.status, resp.StatusCode)
			require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			want, err := json.Marshal(map[string]string{"error": test.want})
			require.NoError(t, err)
			require.JSONEq(t, string(want), string(body))
			allow := ""
			if test.status == http.StatusMethodNotAllowed {
				allow = "GET, HEAD"
			}
			require.Equal(t, allow, resp.Header.Get("Allow"))
		})
	}
	client.get(t)
}

func TestStatusHead(t *testing.T) {
	c, _ := serve(t, "sockopt")
	resp, err := http.Head("http://" + c.Admin + "/sockopt/")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Empty(t, body)
}

// TestCountersOfAnotherTest: the next Caddy of a test may serve the port of this one, and
// has counters of its own.
func TestCountersOfAnotherTest(t *testing.T) {
	addr := lab.Address(t)
	for i := range 2 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			c := inprocess.Run(t, lab.Wrappers("sockopt"), lab.EchoSite(addr))
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+addr+"\r\nConnection: close\r\n\r\n")
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, conn) // counters of an open connection stay
			require.NoError(t, err)
			require.EqualValues(t, 1, statusOf(t, c).Listeners[0].Counters.Connections)
		})
	}
}

// TestCountersSurviveReloads loads 20 configurations while clients connect.
func TestCountersSurviveReloads(t *testing.T) {
	c, _ := serve(t, "sockopt")
	clients := newTraffic(c.addr)
	clients.start(6)
	connections := c.use(t).Counters.Connections
	require.NotZero(t, connections)
	load := func(lines string) {
		status, answer := c.Load("text/caddyfile", c.with(lines))
		require.Equal(t, http.StatusOK, status, answer)
	}
	for i := range 20 {
		load(fmt.Sprintf("sockopt {\nrecv_buffer %dKiB\n}", 64+i))
		shown := settled(t, c.Running, 1)[0]
		require.Equal(t, fmt.Sprintf("%dKiB", 64+i), shown.Options[0].Requested, "of the latest configuration")
		require.GreaterOrEqual(t, shown.Counters.Connections, connections)
		connections = shown.Counters.Connections
	}
	clients.stop()
	require.Zero(t, clients.broken.Load(), clients)
	require.Greater(t, connections, uint64(20), "clients came while configurations were loaded")

	c.reachable(t)
	before := settled(t, c.Running, 1)[0].Counters.Connections
	for range 5 {
		newVisitor(c.addr).get(t)
	}
	require.Equal(t, before+5, c.use(t).Counters.Connections)

	load(inprocess.Observer)
	require.Empty(t, settled(t, c.Running, 0))
	c.reachable(t)
	load("sockopt")
	require.GreaterOrEqual(t, settled(t, c.Running, 1)[0].Counters.Connections, before+5)
}

// settled returns the listeners that the admin API shows, once they are as many
// as that: until the old configuration has been cleaned up it shows those, too.
func settled(t *testing.T, c *lab.Running, count int) (listeners []use) {
	t.Helper()
	require.Eventually(t, func() bool {
		listeners = statusOf(t, c).Listeners
		return len(listeners) == count
	}, lab.Patience, 10*time.Millisecond)
	return listeners
}

// TestStatusDisturbsNobody asks for the status again and again while clients send
// requests.
func TestStatusDisturbsNobody(t *testing.T) {
	c, _ := serve(t, "sockopt")
	clients := newTraffic(c.addr)
	clients.start(6)
	for range lab.Long(50, 200) {
		statusOf(t, c.Running)
	}
	clients.stop()
	require.Zero(t, clients.broken.Load()+clients.dropped.Load(), clients)
	require.Positive(t, clients.served.Load())
}

func TestAdminShowsTransports(t *testing.T) {
	backend := serveStars(t)
	site := lab.Address(t)
	configuration := func(options string) string {
		return fmt.Sprintf("http://%s {\nreverse_proxy %s {\nlb_policy first\ntransport sockopt {\nsocket {\n%s\n}\n}\n}\n}", site, backend, options)
	}
	c := inprocess.Run(t, "", configuration("nodelay off\nsend_buffer 64KiB"))
	shown := transportInUse(t, c)
	require.Equal(t, "srv0", shown.Server)
	require.Equal(t, backend, shown.Upstream)
	require.Equal(t, "/config/apps/http/servers/srv0/routes/0/handle/0/routes/0/handle/0/transport", shown.Position)
	require.Len(t, shown.Options, 2)
	require.Equal(t, "nodelay", shown.Options[0].Option)
	require.Equal(t, "off", shown.Options[0].Effective)
	require.Equal(t, "send_buffer", shown.Options[1].Option)
	require.Equal(t, "64KiB", shown.Options[1].Requested)
	require.Zero(t, shown.Counters.Connections)

	for loads := range 3 {
		require.Eventually(t, func() bool {
			return lab.Get(t.Context(), http.DefaultClient, "http://"+site) == nil
		}, lab.Patience, time.Millisecond)
		shown = transportInUse(t, c)
		require.EqualValues(t, loads+1, shown.Counters.Connections, "over all configurations")
		require.Zero(t, shown.Counters.Unreachable)
		require.Empty(t, shown.Counters.Refused)
		status, answer := c.Load("text/caddyfile", c.Caddyfile("", configuration(fmt.Sprintf("ttl %d", 60+loads))))
		require.Equal(t, http.StatusOK, status, answer)
	}
	require.Equal(t, "ttl", transportInUse(t, c).Options[0].Option)

	status, answer := c.Load("text/caddyfile", c.Caddyfile("", lab.EchoSite(site)))
	require.Equal(t, http.StatusOK, status, answer)
	require.Eventually(t, func() bool { return len(statusOf(t, c).Transports) == 0 }, lab.Patience, time.Millisecond)
}

// Two transports of a server to the same backend count apart, in every configuration.
func TestTransportsCountApart(t *testing.T) {
	backend, site := serveStars(t), lab.Address(t)
	sites := fmt.Sprintf("http://%[1]s {\nreverse_proxy /on %[2]s {\ntransport sockopt\n}\n"+
		"reverse_proxy /off %[2]s {\ntransport sockopt {\nsocket {\nquickack off\n}\n}\n}\n}", site, backend)
	c := inprocess.Run(t, "", sites)
	require.NoError(t, lab.Get(t.Context(), http.DefaultClient, "http://"+site+"/on"))
	for range 2 {
		shown := statusOf(t, c).Transports
		require.Len(t, shown, 2)
		dialed := make(map[string]uint64)
		for _, transport := range shown {
			dialed[transport.QuickAck] = transport.Counters.Connections
		}
		require.Equal(t, map[string]uint64{"auto": 1, "off": 0}, dialed)
		status, answer := c.Load("text/caddyfile", c.Caddyfile("", sites+"\n# again"))
		require.Equal(t, http.StatusOK, status, answer)
		require.Eventually(t, func() bool { return len(statusOf(t, c).Transports) == 2 }, lab.Patience, time.Millisecond)
	}
}

// TestUpstreams: each backend has a series of its own, whose label is that of reverse_proxy;
// quickack tells those of two transports apart, and positions the entries of routes. Of the
// addresses that requests name a transport counts a hundred, and the rest as other.
func TestUpstreams(t *testing.T) {
	inprocess.Parallel(t)
	first, second, site := serveStars(t), serveStars(t), lab.Address(t)
	c := inprocess.Run(t, "metrics", fmt.Sprintf("http://%s {\nsockopt /a {\nsend_buffer 64KiB\n}\nsockopt /b {\nsend_buffer 64KiB\n}\n"+
		"reverse_proxy /two %s %s {\nlb_policy round_robin\ntransport sockopt\n}\n"+
		"reverse_proxy /off %[2]s {\ntransport sockopt {\nsocket {\nquickack off\n}\n}\n}\n"+
		"reverse_proxy 127.0.0.{query.n}:{query.port} {\nlb_try_duration 0\ntransport sockopt {\nkeepalive off\n}\n}\n}", site, first, second))
	ask := func(path string) {
		resp, err := http.Get("http://" + site + path)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	ask("/two")
	ask("/two")
	ask("/off")
	const more = 20
	_, port, _ := net.SplitHostPort(first)
	ask("/?n=%ff&port=" + port) // no text
	ask("/?n=1&port=" + port)
	for n := range 100 + more - 1 {
		ask(fmt.Sprintf("/?n=%d&port=%s", n+2, port)) // nobody listens there
	}
	dialed := func(quickack, upstream string) float64 {
		value, ok := c.Metric("connections_total", fmt.Sprintf(`address="",direction="dialed",quickack=%q,server="srv0",upstream=%q`, quickack, upstream))
		require.True(t, ok, upstream)
		return value
	}
	require.InDelta(t, 2, dialed("auto", first), 0, "of two transports with quickack auto")
	require.InDelta(t, 1, dialed("auto", second), 0)
	require.InDelta(t, 1, dialed("off", first), 0)
	require.Zero(t, dialed("auto", "other"))
	var text string
	require.NoError(t, lab.Eventually("Caddy's own series of the backend, which it updates by itself", func() (bool, error) {
		_, text = c.API(http.MethodGet, "/metrics", "", "")
		return strings.Contains(text, fmt.Sprintf("caddy_reverse_proxy_upstreams_healthy{upstream=%q} 1", second)), nil
	}))
	require.NotContains(t, text, fmt.Sprintf("upstream=\"127.0.0.%d:", 100+more))

	shown := statusOf(t, c)
	require.Len(t, shown.Transports, 3+100+1)
	require.Len(t, shown.Routes, 2)
	require.NotEqual(t, shown.Routes[0].Position, shown.Routes[1].Position)
	for _, one := range append(shown.Routes, shown.Transports...) {
		status, answer := c.API(http.MethodGet, one.Position, "", "")
		require.Equal(t, http.StatusOK, status, answer)
		require.Contains(t, answer, `"sockopt"`)
	}
}

// TestStatusShowsRoutes has the admin API show what a route names.
func TestStatusShowsRoutes(t *testing.T) {
	addr := lab.Address(t)
	c := inprocess.Run(t, "", fmt.Sprintf("http://%s {\nsockopt {\nsend_buffer 64KiB\n}\necho_payload\n}", addr))
	_, answer := c.API(http.MethodGet, "/sockopt/", "", "")
	var shown struct {
		Routes json.RawMessage `json:"routes"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &shown))
	require.JSONEq(t, `[{
		"server": "srv0",
		"position": "/config/apps/http/servers/srv0/routes/0/handle/0/routes/0/handle/0",
		"metrics": false,
		"options": [{"option": "send_buffer", "requested": "64KiB", "effective": "64KiB", "getsockopt": 131072}],
		"counters": {"connections": 0, "acknowledged": 0, "wasted": 0, "patient": 0, "unreachable": 0, "suspected_stalls": 0, "prevented_waits": 0, "refused": []}
	}]`, string(shown.Routes))
}
