package sockopt

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// wholeTransport is every line that transport http takes, as Caddy documents it.
const wholeTransport = `read_buffer 8KiB
write_buffer 8KiB
max_response_header 64KiB
network_proxy none
proxy_protocol v2
dial_timeout 2s
dial_fallback_delay 100ms
response_header_timeout 3s
expect_continue_timeout 4s
resolvers 127.0.0.53
tls
tls_client_auth cert.pem key.pem
tls_insecure_skip_verify
tls_curves x25519
tls_timeout 5s
tls_server_name {vars.name}
tls_renegotiation once
tls_except_ports 8080
keepalive 1m
keepalive_interval 20s
keepalive_idle_conns 64
keepalive_idle_conns_per_host 16
versions 1.1 2
compression off
max_conns_per_host 100
read_timeout 6s
write_timeout 7s
local_address 127.0.0.1`

// transportDirective is "transport sockopt" in a Caddyfile.
var transportDirective = directive{
	name:      "transport sockopt",
	caddyfile: func(follows string) string { return proxySite(":80", "sockopt"+follows) },
	line:      3,
}

// proxySite is a site that forwards to a backend by one transport, with further
// lines of reverse_proxy.
func proxySite(addr, transport string, lines ...string) string {
	return addr + " {\nreverse_proxy 127.0.0.1:9101 {\ntransport " + transport + "\n" + strings.Join(lines, "\n") + "\n}\n}\n"
}

// proxyJSON is what a reverse_proxy to 127.0.0.1:9101 has for its transport.
func proxyJSON(t *testing.T, caddyfile string) map[string]any {
	t.Helper()
	modules := adaptedModules(t, caddyfile)
	require.Len(t, modules, 1)
	var proxy struct {
		Transport map[string]any `json:"transport"`
	}
	require.NoError(t, json.Unmarshal([]byte(modules[0]), &proxy))
	return proxy.Transport
}

func TestTransportCaddyfile(t *testing.T) {
	for _, test := range []struct {
		name    string
		follows string
		want    string
	}{
		{"bare", "", `{"protocol":"sockopt"}`},
		{"empty block", block(), `{"protocol":"sockopt"}`},
		{"empty socket", block("socket {", "}"), `{"protocol":"sockopt"}`},
		{"socket without a block", block("socket"), `{"protocol":"sockopt"}`},
		{"socket alone", block("socket {", "nodelay off", "dscp af21", "}"), `{"protocol":"sockopt","socket":{"dscp":"af21","nodelay":false}}`},
		{"http's alone", block("dial_timeout 2s"), `{"protocol":"sockopt","dial_timeout":2000000000}`},
		{"socket first", block("socket {", "quickack on", "}", "dial_timeout 2s"), `{"protocol":"sockopt","dial_timeout":2000000000,"socket":{"quickack":"on"}}`},
		{"socket last", block("dial_timeout 2s", "socket {", "quickack on", "}"), `{"protocol":"sockopt","dial_timeout":2000000000,"socket":{"quickack":"on"}}`},
		{
			"socket between, with a repeated option",
			block("versions 1.1", "socket {", "raw 6 9 3", "raw 6 10 4", "}", "dial_timeout 2s"),
			`{"protocol":"sockopt","versions":["1.1"],"dial_timeout":2000000000,"socket":{"raw":[{"level":6,"option":9,"value":3},{"level":6,"option":10,"value":4}]}}`,
		},
		{
			"a block of http's",
			block("tls_trust_pool inline {", "trust_der socket", "}", "socket {", "ttl 9", "}"),
			`{"protocol":"sockopt","tls":{"ca":{"provider":"inline","trusted_ca_certs":["socket"]}},"socket":{"ttl":9}}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := json.Marshal(proxyJSON(t, transportDirective.caddyfile(test.follows)))
			require.NoError(t, err)
			require.JSONEq(t, test.want, string(got))
		})
	}
}

// All that transport http takes means the same, with and without a socket block
// beside it.
func TestTransportCaddyfileIsThatOfHTTP(t *testing.T) {
	want := proxyJSON(t, proxySite(":80", "http"+block(wholeTransport)))
	require.Equal(t, "http", want["protocol"])
	want["protocol"] = "sockopt"
	require.Equal(t, want, proxyJSON(t, transportDirective.caddyfile(block(wholeTransport))))

	want["socket"] = map[string]any{"nodelay": true}
	lines := strings.Split(wholeTransport, "\n")
	for i := range lines {
		with := append(append([]string{}, lines[:i]...), "socket {", "nodelay on", "}")
		require.Equal(t, want, proxyJSON(t, transportDirective.caddyfile(block(append(with, lines[i:]...)...))))
	}
}

// What https:// and h2c:// mean for transport http, they mean for this one.
func TestTransportTakesTheScheme(t *testing.T) {
	for scheme, want := range map[string]string{
		"https://": `{"protocol":"sockopt","tls":{}}`,
		"h2c://":   `{"protocol":"sockopt","versions":["h2c","2"]}`,
	} {
		got, err := json.Marshal(proxyJSON(t, strings.Replace(transportDirective.caddyfile(""), "127.0.0.1", scheme+"127.0.0.1", 1)))
		require.NoError(t, err)
		require.JSONEq(t, want, string(got))
	}
}

const dialNames = "nodelay, quickack, delayed_ack_max, notsent_lowat, busy_poll, recv_buffer, send_buffer, congestion, " +
	"pacing_rate, window_clamp, thin_stream, keepalive, keepalive_idle, keepalive_interval, keepalive_count, user_timeout, " +
	"fin_timeout, rto_min, rto_max, dscp, priority, mark, ttl, raw, metrics or on_unsupported"

var badTransports = []struct {
	name    string
	follows string
	line    int // of the error, counted from the directive's, which is 0
	want    string
}{
	{"unknown line", block("no_delay on"), 1, "unrecognized subdirective no_delay"},
	{"option outside of socket", block("dial_timeout 2s", "nodelay on"), 2, "unrecognized subdirective nodelay"},
	{"bad value of http's", block("socket {", "nodelay on", "}", "dial_timeout soon"), 4, "bad timeout value 'soon'"},
	{"socket twice", block("socket {", "nodelay on", "}", "socket {", "ttl 9", "}"), 4, "socket is set twice; leave one of them out"},
	{"socket with an argument", block("socket nodelay on"), 1, `socket takes no argument, but options in a block, one a line; "nodelay" is too many`},
	{"socket with an argument and a block", block("socket on {", "nodelay on", "}"), 1, `socket takes no argument, but options in a block, one a line; "on" is too many`},
	{"unknown option", block("socket {", "nodelay on", "no_delay on", "}"), 3, `unknown option "no_delay"; here it can be ` + dialNames},
	{"line of http's in socket", block("socket {", "dial_timeout 2s", "}"), 2, `unknown option "dial_timeout"; here it can be ` + dialNames},
	{"option twice", block("socket {", "ttl 9", "ttl 9", "}"), 3, "ttl is set twice; leave one of them out"},
	{"bad value", block("socket {", "dscp gold", "}"), 2, `dscp: "gold" is not a`},
	{"of accepted connections", block("socket {", "linger 0s", "}"), 2, "linger cannot be set here, but on accepted connections; here it can be " + dialNames},
	{"of listening sockets", block("socket {", "backlog 9", "}"), 2, "backlog cannot be set here, but on listening sockets; here it can be " + dialNames},
	{"of routes", block("socket {", "cork on", "}"), 2, "cork cannot be set here, but for the requests of a route; here it can be " + dialNames},
}

func TestTransportCaddyfileRefuses(t *testing.T) {
	for _, test := range badTransports {
		t.Run(test.name, func(t *testing.T) {
			_, err := adapt(transportDirective.caddyfile(test.follows))
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, fmt.Sprintf(", at Caddyfile:%d", transportDirective.line+test.line))
		})
	}
}

// What the Caddyfile's grammar cannot see is refused when it is loaded, and the
// running configuration goes on.
func TestTransportIsRefusedAtLoad(t *testing.T) {
	c, client := serve(t, "sockopt")
	for _, test := range []struct {
		name      string
		transport string // its JSON
		want      string
	}{
		{"unknown option", `{"protocol":"sockopt","socket":{"no_delay":true}}`, `unknown option "no_delay"; here it can be ` + dialNames},
		{"option outside of socket", `{"protocol":"sockopt","nodelay":true}`, `json: unknown field "nodelay"`},
		{"unknown field of http's", `{"protocol":"sockopt","dial":"2s"}`, `json: unknown field "dial"`},
		{"of accepted connections", `{"protocol":"sockopt","socket":{"linger":"0s"}}`, "linger cannot be set here, but on accepted connections; here it can be " + dialNames},
		{"of listening sockets", `{"protocol":"sockopt","socket":{"backlog":9}}`, "backlog cannot be set here, but on listening sockets; here it can be " + dialNames},
		{"of routes", `{"protocol":"sockopt","socket":{"cork":true}}`, "cork cannot be set here, but for the requests of a route; here it can be " + dialNames},
		{"bad value", `{"protocol":"sockopt","socket":{"ttl":256}}`, "ttl: 256 is not from 1 to 255"},
		{"HTTP/3", `{"protocol":"sockopt","tls":{},"versions":["3"],"socket":{"nodelay":true}}`, "socket: HTTP/3 runs over UDP, which has none of these options; leave socket out, or take 3 out of versions"},
		{"unknown version", `{"protocol":"sockopt","versions":["4"]}`, "unsupported HTTP version: 4"},
		{"HTTP/3 and another", `{"protocol":"sockopt","tls":{},"versions":["2","3"]}`, "if HTTP/3 is enabled to the upstream, no other HTTP versions are supported"},
	} {
		t.Run(test.name, func(t *testing.T) {
			adapted, err := adapt(c.config("", proxySite("http://"+c.addr, "sockopt")))
			require.NoError(t, err)
			body := strings.Replace(string(adapted), `{"protocol":"sockopt"}`, test.transport, 1)
			require.Contains(t, body, test.transport)
			status, answer := c.load("application/json", body)
			require.Equal(t, http.StatusBadRequest, status, answer)
			require.Contains(t, answer, jsonText(test.want))
			client.get(t)
		})
	}
	require.Empty(t, activeTransports.now())

	status, answer := c.load("text/caddyfile", c.config("", proxySite("http://"+c.addr, "sockopt"+block("tls", "versions 3"))))
	require.Equal(t, http.StatusOK, status, answer)
}

func TestAdaptedTransportLoadsUnchanged(t *testing.T) {
	c, _ := serve(t, "sockopt")
	adapted, err := adapt(c.config("", proxySite("http://"+c.addr, "sockopt"+block(
		"dial_timeout 2s", "versions 1.1", "socket {", "nodelay on", "keepalive_idle 30s", "on_unsupported warn", "}"))))
	require.NoError(t, err)
	status, answer := c.load("application/json", string(adapted))
	require.Equal(t, http.StatusOK, status, answer)
	_, answer = c.api(http.MethodGet, "/config/", "", "")
	require.JSONEq(t, string(adapted), answer)
}

// transports are what is compared: whatever happens to Caddy's own transport
// happens to this one.
var transports = []string{"http", "sockopt"}

// forward runs a Caddy with one site for each of the transports, which forwards
// to the upstreams with further lines in the blocks of the transport and of
// reverse_proxy. It returns their addresses.
func forward(t testing.TB, upstreams, lines, proxyLines string) (c *running, addrs map[string]string) {
	t.Helper()
	addrs = make(map[string]string)
	var sites strings.Builder
	for _, transport := range transports {
		addrs[transport] = address(t)
		fmt.Fprintf(&sites, "http://%s {\nreverse_proxy %s {\ntransport %s {\n%s\n}\n%s\n}\n}\n",
			addrs[transport], upstreams, transport, lines, proxyLines)
	}
	return run(t, "", sites.String()), addrs
}

// inUse returns what the admin API shows of the only transport.
func (c *running) inUse() activeUse {
	c.t.Helper()
	_, answer := c.api(http.MethodGet, adminPath, "", "")
	var shown struct {
		Transports []activeUse `json:"transports"`
	}
	require.NoError(c.t, json.Unmarshal([]byte(answer), &shown))
	require.Len(c.t, shown.Transports, 1, answer)
	return shown.Transports[0]
}

func TestAdminShowsTransports(t *testing.T) {
	backend := serveStars(t)
	site := address(t)
	configuration := func(options string) string {
		return fmt.Sprintf("http://%s {\nreverse_proxy %s 127.0.0.1:1 {\nlb_policy first\ntransport sockopt {\nsocket {\n%s\n}\n}\n}\n}", site, backend, options)
	}
	c := run(t, "", configuration("nodelay off\nsend_buffer 64KiB"))
	shown := c.inUse()
	require.Equal(t, "srv0", shown.Server)
	require.Equal(t, backend+", 127.0.0.1:1", shown.Address)
	require.Len(t, shown.Options, 2)
	require.Equal(t, "nodelay", shown.Options[0].Option)
	require.Equal(t, "off", shown.Options[0].Effective)
	require.Equal(t, "send_buffer", shown.Options[1].Option)
	require.Equal(t, "64KiB", shown.Options[1].Requested)
	require.Zero(t, shown.Counters.Connections)

	for loads := range 3 {
		require.Eventually(t, func() bool {
			return get(t.Context(), http.DefaultClient, "http://"+site) == nil
		}, patience, time.Millisecond)
		shown = c.inUse()
		require.EqualValues(t, loads+1, shown.Counters.Connections, "over all configurations")
		require.Zero(t, shown.Counters.Unreachable)
		require.Empty(t, shown.Counters.Refused)
		status, answer := c.load("text/caddyfile", config(c.dir, c.admin, "", configuration(fmt.Sprintf("ttl %d", 60+loads))))
		require.Equal(t, http.StatusOK, status, answer)
	}
	require.Equal(t, "ttl", c.inUse().Options[0].Option)

	status, answer := c.load("text/caddyfile", config(c.dir, c.admin, "", echoSite(site)))
	require.Equal(t, http.StatusOK, status, answer)
	require.Eventually(t, func() bool { return len(activeTransports.now()) == 0 }, patience, time.Millisecond)
}

// Two transports of a server to the same backend count apart, in every configuration.
func TestTransportsCountApart(t *testing.T) {
	backend, site := serveStars(t), address(t)
	sites := fmt.Sprintf("http://%[1]s {\nreverse_proxy /on %[2]s {\ntransport sockopt\n}\n"+
		"reverse_proxy /off %[2]s {\ntransport sockopt {\nsocket {\nquickack off\n}\n}\n}\n}", site, backend)
	c := run(t, "", sites)
	require.NoError(t, get(t.Context(), http.DefaultClient, "http://"+site+"/on"))
	for range 2 {
		shown := activeTransports.now()
		require.Len(t, shown, 2)
		dialed := make(map[string]uint64)
		for _, transport := range shown {
			dialed[transport.QuickAck] = transport.Counters.Connections
		}
		require.Equal(t, map[string]uint64{"auto": 1, "off": 0}, dialed)
		status, answer := c.load("text/caddyfile", config(c.dir, c.admin, "", sites+"\n# again"))
		require.Equal(t, http.StatusOK, status, answer)
		require.Eventually(t, func() bool { return len(activeTransports.now()) == 2 }, patience, time.Millisecond)
	}
}

// serveStars returns the address of a backend that serves the payload.
func serveStars(t testing.TB) (addr string) {
	t.Helper()
	return serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(stars) })
}

func serveHTTP(t testing.TB, handler http.HandlerFunc) (addr string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// forEach runs a test for each of the transports.
func forEach(t *testing.T, addrs map[string]string, test func(t *testing.T, addr string)) {
	t.Helper()
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) { test(t, addrs[transport]) })
	}
}

func TestUnixBackendIsUntouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(stars) }))
	server.Listener.Close()
	server.Listener = ln
	server.Start()
	defer server.Close()

	c, addrs := forward(t, "unix/"+path, "read_timeout 5s", "")
	forEach(t, addrs, func(t *testing.T, addr string) {
		require.NoError(t, get(t.Context(), http.DefaultClient, "http://"+addr))
	})
	shown := c.inUse()
	require.Zero(t, shown.Counters.Connections)
	require.Zero(t, shown.Counters.Unreachable)
	require.Empty(t, c.warnings())
}

func TestStreaming(t *testing.T) {
	pieces := make(chan string)
	backend := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		for piece := range pieces {
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
			if piece == "last" {
				return
			}
		}
	})
	_, addrs := forward(t, backend, "", "flush_interval -1")
	forEach(t, addrs, func(t *testing.T, addr string) {
		var resp *http.Response
		for _, piece := range []string{"first", "second", "third", "last"} {
			// Each piece has come when the next one is made.
			sent := make(chan struct{})
			go func() {
				pieces <- piece
				close(sent)
			}()
			if resp == nil {
				var err error
				resp, err = http.Get("http://" + addr)
				require.NoError(t, err)
				defer resp.Body.Close()
			}
			buf := make([]byte, len(piece))
			_, err := io.ReadFull(resp.Body, buf)
			require.NoError(t, err)
			require.Equal(t, piece, string(buf))
			<-sent
		}
		_, err := resp.Body.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestHealthChecks(t *testing.T) {
	var healthy, checks atomic.Int64
	backend := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			checks.Add(1)
			if healthy.Load() == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		_, _ = w.Write(stars)
	})
	_, addrs := forward(t, backend, "", "health_uri /health\nhealth_interval 10ms\nhealth_timeout 5s")
	becomes := func(t *testing.T, addr string, status int) {
		t.Helper()
		require.Eventually(t, func() bool {
			resp, err := http.Get("http://" + addr)
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode == status
		}, patience, time.Millisecond)
	}
	for _, up := range []int64{0, 1, 0, 1} {
		healthy.Store(up)
		forEach(t, addrs, func(t *testing.T, addr string) {
			becomes(t, addr, map[int64]int{0: http.StatusServiceUnavailable, 1: http.StatusOK}[up])
		})
	}
	require.Positive(t, checks.Load())
}

func TestRetriesAfterDialErrors(t *testing.T) {
	dead := address(t)
	_, addrs := forward(t, dead+" "+serveStars(t), "dial_timeout 5s", "lb_policy round_robin\nlb_try_duration 30s\nlb_try_interval 1ms")
	forEach(t, addrs, func(t *testing.T, addr string) {
		for range 10 {
			require.NoError(t, get(t.Context(), http.DefaultClient, "http://"+addr))
		}
	})
}

// fault is something that goes wrong at a backend.
type fault struct {
	name   string
	lines  string // of the transport
	method string // default GET

	// act has the backend misbehave on a connection whose request has been read,
	// unless it is deaf. arrived returns when the client has what was sent before.
	act  func(conn *net.TCPConn, arrived func())
	deaf bool

	status int
	body   string
	broken bool // in the middle of the body
}

const (
	wholeHeader = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
	someStars   = "*****"
)

func send(conn net.Conn, text string) { _, _ = io.WriteString(conn, text) }

func resetTCP(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

var faults = []fault{
	{name: "is never told a name for TLS", lines: "tls\nversions 1.1\nproxy_protocol v1", act: func(*net.TCPConn, func()) {}, status: 502},
	{name: "stalls in the handshake", lines: "tls\ntls_timeout 100ms\ntls_server_name {http.request.host}", deaf: true, act: func(c *net.TCPConn, _ func()) {
		_, _ = io.Copy(io.Discard, c)
	}, status: 504},
	{name: "sends garbage in the handshake", lines: "tls\ntls_server_name {http.request.host}", deaf: true, act: func(c *net.TCPConn, _ func()) {
		send(c, "this is not TLS\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	}, status: 502},
	{name: "resets in the handshake", lines: "tls\ntls_server_name {http.request.host}", deaf: true, act: func(c *net.TCPConn, _ func()) {
		_, _ = c.Read(make([]byte, 1))
		resetTCP(c)
	}, status: 502},
	{name: "resets", act: func(c *net.TCPConn, _ func()) { resetTCP(c) }, status: 502},
	{name: "resets a POST", method: http.MethodPost, act: func(c *net.TCPConn, _ func()) { resetTCP(c) }, status: 502},
	{name: "closes", act: func(*net.TCPConn, func()) {}, status: 502},
	{name: "half-closes", act: func(c *net.TCPConn, _ func()) {
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}, status: 502},
	{name: "half-closes in the header", act: func(c *net.TCPConn, _ func()) {
		send(c, wholeHeader[:20])
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}, status: 502},
	{name: "half-closes after an endless body", act: func(c *net.TCPConn, _ func()) {
		send(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+someStars)
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}, status: 200, body: someStars},
	{name: "half-closes in the body", act: func(c *net.TCPConn, arrived func()) {
		send(c, wholeHeader+someStars)
		arrived()
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}, status: 200, body: someStars, broken: true},
	{name: "resets in the body", act: func(c *net.TCPConn, arrived func()) {
		send(c, wholeHeader+someStars)
		arrived()
		resetTCP(c)
	}, status: 200, body: someStars, broken: true},
	{name: "sends garbage", act: func(c *net.TCPConn, _ func()) {
		send(c, "\x16\x03\x01 this is not HTTP\r\n\r\n")
	}, status: 502},
	{name: "sends an endless line", lines: "max_response_header 4KiB", act: func(c *net.TCPConn, _ func()) {
		send(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("*", 1<<20))
	}, status: 502},
	{name: "sends a wrong chunk", act: func(c *net.TCPConn, arrived func()) {
		send(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"+someStars+"\r\n")
		arrived()
		send(c, "five\r\n")
	}, status: 200, body: someStars, broken: true},
	{name: "sends too much", act: func(c *net.TCPConn, _ func()) {
		send(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"+someStars+someStars)
	}, status: 200, body: someStars},
	{name: "stalls", lines: "response_header_timeout 100ms", act: func(c *net.TCPConn, _ func()) {
		_, _ = io.Copy(io.Discard, c)
	}, status: 504},
	{name: "stalls longer than a read may", lines: "read_timeout 100ms", act: func(c *net.TCPConn, _ func()) {
		_, _ = io.Copy(io.Discard, c)
	}, status: 504},
	{name: "stalls in the header", lines: "read_timeout 100ms", act: func(c *net.TCPConn, _ func()) {
		send(c, wholeHeader[:20])
		_, _ = io.Copy(io.Discard, c)
	}, status: 502},
	{name: "stalls in the body", lines: "read_timeout 100ms\nwrite_timeout 10s", act: func(c *net.TCPConn, _ func()) {
		send(c, wholeHeader+someStars)
		_, _ = io.Copy(io.Discard, c)
	}, status: 200, body: someStars, broken: true},
}

// TestFaultsOfBackends has backends misbehave towards both transports: clients
// see the same, and the connection is closed.
func TestFaultsOfBackends(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			arrived := make(chan struct{}, len(transports))
			var open atomic.Int64
			backend := serveTCP(t, func(conn *net.TCPConn) {
				open.Add(1)
				defer open.Add(-1)
				if !f.deaf {
					if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
						return
					}
				}
				f.act(conn, func() {
					select {
					case <-arrived:
					case <-t.Context().Done():
					}
				})
			})
			_, addrs := forward(t, backend, f.lines, "flush_interval -1")
			forEach(t, addrs, func(t *testing.T, addr string) {
				f.meet(t, addr, arrived)
				require.Eventually(t, func() bool { return open.Load() == 0 }, patience, time.Millisecond)
			})
		})
	}
}

// meet sends a request that meets the fault, and tells when the expected part of
// the body has arrived.
func (f fault) meet(t *testing.T, addr string, arrived chan<- struct{}) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	req, err := http.NewRequestWithContext(t.Context(), f.method, "http://"+addr, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, f.status, resp.StatusCode)
	body := make([]byte, len(f.body))
	_, err = io.ReadFull(resp.Body, body)
	require.NoError(t, err)
	require.Equal(t, f.body, string(body))
	arrived <- struct{}{}
	_, err = resp.Body.Read(make([]byte, 1))
	if f.broken {
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	} else {
		require.ErrorIs(t, err, io.EOF)
	}
}

// serveTCP returns the address of a backend that does something with each
// connection, and then closes it.
func serveTCP(t testing.TB, act func(*net.TCPConn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var going sync.WaitGroup
	var open sync.Map
	going.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			open.Store(conn, nil)
			going.Go(func() {
				defer open.Delete(conn)
				defer conn.Close()
				act(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		open.Range(func(conn, _ any) bool {
			_ = conn.(net.Conn).Close()
			return true
		})
		going.Wait()
	})
	return ln.Addr().String()
}

// A backend that closes idle connections costs no request.
func TestBackendClosesIdleConnections(t *testing.T) {
	var closed atomic.Int64
	backend := serveTCP(t, func(conn *net.TCPConn) {
		defer closed.Add(1)
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			send(conn, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(stars), stars))
		}
	})
	_, addrs := forward(t, backend, "", "")
	forEach(t, addrs, func(t *testing.T, addr string) {
		for range 100 {
			require.NoError(t, get(t.Context(), http.DefaultClient, "http://"+addr))
		}
	})
}

// A Transport is provisioned by whoever embeds one, too: outside of a server and
// of a reverse_proxy.
func TestTransportOutsideOfReverseProxy(t *testing.T) {
	transport := provisionedTransport(t, new(Transport))
	require.NoError(t, get(t.Context(), &http.Client{Transport: transport}, "http://"+serveStars(t)))
	require.Len(t, activeTransports.now(), 1)
	require.NoError(t, transport.Cleanup())
	require.Empty(t, activeTransports.now())
}

// roundTripper is a transport as Caddy has it.
type roundTripper interface {
	http.RoundTripper
	caddy.Provisioner
	caddy.CleanerUpper
}

func provisionedTransport(t testing.TB, transport roundTripper) roundTripper {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	require.NoError(t, transport.Provision(ctx))
	t.Cleanup(func() { require.NoError(t, transport.Cleanup()) })
	return transport
}

// BenchmarkRoundTrip compares what a request costs in the transports, to a
// backend that allocates nothing.
func BenchmarkRoundTrip(b *testing.B) {
	for _, transport := range []struct {
		name string
		roundTripper
	}{
		{"http", new(reverseproxy.HTTPTransport)},
		{"sockopt", new(Transport)},
	} {
		b.Run(transport.name, func(b *testing.B) {
			request := newRequester(b, transport.roundTripper)
			b.ReportAllocs()
			for b.Loop() {
				if err := request(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestRoundTripAllocations bounds what a request costs beyond transport http: a
// trace, its context, and the copy of the request that has it.
func TestRoundTripAllocations(t *testing.T) {
	count := func(transport roundTripper) float64 {
		request := newRequester(t, transport)
		var failed error
		allocations := testing.AllocsPerRun(1000, func() { failed = errors.Join(failed, request()) })
		require.NoError(t, failed)
		return allocations
	}
	stock, ours := count(new(reverseproxy.HTTPTransport)), count(new(Transport))
	t.Logf("allocations a request: transport http %v, transport sockopt %v", stock, ours)
	require.LessOrEqual(t, ours, stock+8)
}

// newRequester returns a function that sends a request, as reverse_proxy does,
// and reads the response to its end.
func newRequester(t testing.TB, transport roundTripper) (request func() error) {
	t.Helper()
	provisionedTransport(t, transport)
	response := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n%s", stars[:1000])
	addr := serveTCP(t, func(conn *net.TCPConn) {
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
				_, _ = conn.Write(response)
			}
		}
	})
	buf := make([]byte, 4096)
	return func() error {
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			Got1xxResponse: func(int, textproto.MIMEHeader) error { return nil },
		})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr, nil)
		if err != nil {
			return err
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		if err != io.EOF {
			return err
		}
		return nil
	}
}
