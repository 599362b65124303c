package integration_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// site is a running Caddy that serves the payload.
type site struct {
	*lab.Running
	addr string
}

// serve runs a site whose listener wrappers are lines, and connects a client.
func serve(t *testing.T, lines string) (*site, *visitor) {
	t.Helper()
	addr := lab.Address(t)
	c := &site{inprocess.Run(t, lab.Wrappers(lines), lab.EchoSite(addr)), addr}
	client := newVisitor(addr)
	client.get(t)
	return c, client
}

// with is the site's Caddyfile, but with other listener wrappers.
func (s *site) with(lines string) string { return s.config(lab.Wrappers(lines), lab.EchoSite(s.addr)) }

// config is a Caddyfile for the same Caddy.
func (s *site) config(global, sites string) string { return s.Caddyfile(global, sites) }

// reachable returns when the site serves: for a moment after a load, the server of
// the configuration before it takes connections, and drops them.
func (s *site) reachable(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		return lab.Get(t.Context(), http.DefaultClient, "http://"+s.addr) == nil
	}, lab.Patience, time.Millisecond)
}

// visitor is an HTTP client that keeps one connection.
type visitor struct {
	http.Client
	url       string
	connected bool
}

func newVisitor(addr string) *visitor {
	return &visitor{Client: http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}, url: "http://" + addr}
}

// get fetches the payload over the connection of the first call.
func (c *visitor) get(t *testing.T) {
	t.Helper()
	var reused bool
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
	})
	require.NoError(t, lab.Get(ctx, &c.Client, c.url))
	require.Equal(t, c.connected, reused, "the connection of the last request was closed")
	c.connected = true
}

// gate is a backend that answers a request when the test lets it.
type gate struct {
	*httptest.Server
	entered, leave map[string]chan struct{} // by path
}

func newGate(t *testing.T, paths ...string) *gate {
	t.Helper()
	g := &gate{entered: make(map[string]chan struct{}), leave: make(map[string]chan struct{})}
	for _, path := range paths {
		g.entered[path], g.leave[path] = make(chan struct{}), make(chan struct{})
	}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if entered, ok := g.entered[r.URL.Path]; ok {
			entered <- struct{}{}
			<-g.leave[r.URL.Path]
		}
		_, _ = w.Write(lab.Stars)
	}))
	t.Cleanup(g.Close)
	return g
}

func serveHTTP(t testing.TB, handler http.HandlerFunc) (addr string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// errorIn returns the error in an answer of the admin API.
func errorIn(t testing.TB, answer string) string {
	t.Helper()
	var e struct {
		Error string `json:"error"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &e))
	return e.Error
}

// requirePayload fetches the payload.
func requirePayload(t testing.TB, client *http.Client, url string) {
	t.Helper()
	require.NoError(t, lab.Get(t.Context(), client, url))
}

// A request for a site on 127.0.0.1.
const (
	requestLine = "GET / HTTP/1.1\r\n"
	requestRest = "Host: 127.0.0.1\r\n\r\n"
	request     = requestLine + requestRest
)
