package sockopt

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
)

// status asks the admin API for what the options are in use.
func (c *running) status(t testing.TB) status {
	t.Helper()
	code, answer := c.api(http.MethodGet, adminPath, "", "")
	require.Equal(t, http.StatusOK, code, answer)
	var s status
	require.NoError(t, json.Unmarshal([]byte(answer), &s), answer)
	return s
}

// listener returns the one use at an address that ends like this, ":8080".
func (s status) listener(t testing.TB, port string) activeUse {
	t.Helper()
	var found []activeUse
	for _, use := range s.Listeners {
		if strings.HasSuffix(use.Address, port) {
			found = append(found, use)
		}
	}
	require.Len(t, found, 1, "listeners at %s", port)
	return found[0]
}

// use returns the one listener of a site.
func (s *site) use(t testing.TB) activeUse {
	t.Helper()
	listeners := s.status(t).Listeners
	require.Len(t, listeners, 1)
	_, port, err := net.SplitHostPort(s.addr)
	require.NoError(t, err)
	require.Equal(t, "[::]:"+port, listeners[0].Address)
	return listeners[0]
}

func TestStatus(t *testing.T) {
	c, _ := serve(t, "sockopt"+block("nodelay off", "recv_buffer 96KiB"))
	newVisitor(c.addr).get(t)
	s := c.status(t)
	require.Equal(t, runtime.GOOS, s.OS)
	if runtime.GOOS == "linux" {
		require.NotEmpty(t, s.Kernel)
	}
	require.Len(t, s.Options, len(rows))
	for i, r := range rows {
		require.Equal(t, r.support(), s.Options[i])
	}
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
	c, _ := serve(t, "sockopt"+block("nodelay off"))
	_, answer := c.api(http.MethodGet, adminPath, "", "")
	var listeners struct {
		Listeners json.RawMessage `json:"listeners"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &listeners))
	quickack, read := "off", ""
	if runtime.GOOS == "linux" {
		quickack, read = "auto", `, "getsockopt": 0`
	}
	require.JSONEq(t, fmt.Sprintf(`[{
		"server": "srv0",
		"address": %q,
		"quickack": %q,
		"options": [{"option": "nodelay", "requested": "off", "effective": "off"%s}],
		"counters": {"connections": 1, "acknowledged": 0, "unreachable": 0, "suspected_stalls": 0, "refused": []}
	}]`, c.use(t).Address, quickack, read), string(listeners.Listeners))
	require.Contains(t, answer, "\n\t\"listeners\": [\n", "people read it as well")
}

func TestStatusErrors(t *testing.T) {
	c, client := serve(t, "sockopt")
	for _, test := range []struct {
		method, path string
		status       int
		want         string
	}{
		{http.MethodPost, adminPath, http.StatusMethodNotAllowed, "method not allowed: POST; use GET"},
		{http.MethodPut, adminPath, http.StatusMethodNotAllowed, "method not allowed: PUT; use GET"},
		{http.MethodPatch, adminPath, http.StatusMethodNotAllowed, "method not allowed: PATCH; use GET"},
		{http.MethodDelete, adminPath, http.StatusMethodNotAllowed, "method not allowed: DELETE; use GET"},
		{http.MethodOptions, adminPath, http.StatusMethodNotAllowed, "method not allowed: OPTIONS; use GET"},
		{http.MethodGet, adminPath + "srv0", http.StatusNotFound, "resource not found: /sockopt/srv0; there is only /sockopt/"},
		{http.MethodGet, adminPath + "options/", http.StatusNotFound, "resource not found: /sockopt/options/; there is only /sockopt/"},
		{http.MethodPost, adminPath + "srv0", http.StatusNotFound, "resource not found: /sockopt/srv0; there is only /sockopt/"},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+c.admin+test.path, nil)
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
	resp, err := http.Head("http://" + c.admin + adminPath)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Empty(t, body)
}

// TestCountersSurviveReloads loads 20 configurations while clients connect.
func TestCountersSurviveReloads(t *testing.T) {
	c, _ := serve(t, "sockopt")
	clients := newTraffic(c.addr)
	clients.start(6)
	connections := c.use(t).Counters.Connections
	require.NotZero(t, connections)
	load := func(lines string) {
		status, answer := c.load("text/caddyfile", c.with(lines))
		require.Equal(t, http.StatusOK, status, answer)
	}
	for i := range 20 {
		load(fmt.Sprintf("sockopt {\nrecv_buffer %dKiB\n}", 64+i))
		shown := c.settled(t, 1)[0]
		require.Equal(t, fmt.Sprintf("%dKiB", 64+i), shown.Options[0].Requested, "of the latest configuration")
		require.GreaterOrEqual(t, shown.Counters.Connections, connections)
		connections = shown.Counters.Connections
	}
	clients.stop()
	require.Zero(t, clients.broken.Load(), clients)
	require.Greater(t, connections, uint64(20), "clients came while configurations were loaded")

	c.reachable(t)
	before := c.settled(t, 1)[0].Counters.Connections
	for range 5 {
		newVisitor(c.addr).get(t)
	}
	require.Equal(t, before+5, c.use(t).Counters.Connections)

	load(observe)
	require.Empty(t, c.settled(t, 0))
	c.reachable(t)
	load("sockopt")
	require.GreaterOrEqual(t, c.settled(t, 1)[0].Counters.Connections, before+5)
}

// settled returns the listeners that the admin API shows, once they are as many
// as that: until the old configuration has been cleaned up it shows those, too.
func (c *running) settled(t *testing.T, count int) (listeners []activeUse) {
	t.Helper()
	require.Eventually(t, func() bool {
		listeners = c.status(t).Listeners
		return len(listeners) == count
	}, patience, 10*time.Millisecond)
	return listeners
}

// TestStatusDisturbsNobody asks for the status again and again while clients send
// requests.
func TestStatusDisturbsNobody(t *testing.T) {
	c, _ := serve(t, "sockopt")
	clients := newTraffic(c.addr)
	clients.start(6)
	var took []float64
	for range 200 {
		started := time.Now()
		c.status(t)
		took = append(took, time.Since(started).Seconds())
	}
	clients.stop()
	require.Zero(t, clients.broken.Load()+clients.dropped.Load(), clients)
	t.Logf("%v; median of an answer: %.1f ms", clients, 1e3*quantile(took, 0.5))
	require.Less(t, quantile(took, 0.5), 0.25)
}
