package sockopt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
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
		{"empty block", lab.Block(), `{"protocol":"sockopt"}`},
		{"empty socket", lab.Block("socket {", "}"), `{"protocol":"sockopt"}`},
		{"socket without a block", lab.Block("socket"), `{"protocol":"sockopt"}`},
		{"socket alone", lab.Block("socket {", "nodelay off", "dscp af21", "}"), `{"protocol":"sockopt","socket":{"dscp":"af21","nodelay":false}}`},
		{"http's alone", lab.Block("dial_timeout 2s"), `{"protocol":"sockopt","dial_timeout":2000000000}`},
		{"socket first", lab.Block("socket {", "quickack on", "}", "dial_timeout 2s"), `{"protocol":"sockopt","dial_timeout":2000000000,"socket":{"quickack":"on"}}`},
		{"socket last", lab.Block("dial_timeout 2s", "socket {", "quickack on", "}"), `{"protocol":"sockopt","dial_timeout":2000000000,"socket":{"quickack":"on"}}`},
		{
			"socket between, with a repeated option",
			lab.Block("versions 1.1", "socket {", "raw 6 9 3", "raw 6 10 4", "}", "dial_timeout 2s"),
			`{"protocol":"sockopt","versions":["1.1"],"dial_timeout":2000000000,"socket":{"raw":[{"level":6,"option":9,"value":3},{"level":6,"option":10,"value":4}]}}`,
		},
		{
			"a block of http's",
			lab.Block("tls_trust_pool inline {", "trust_der socket", "}", "socket {", "ttl 9", "}"),
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
	want := proxyJSON(t, proxySite(":80", "http"+lab.Block(wholeTransport)))
	require.Equal(t, "http", want["protocol"])
	want["protocol"] = "sockopt"
	require.Equal(t, want, proxyJSON(t, transportDirective.caddyfile(lab.Block(wholeTransport))))

	want["socket"] = map[string]any{"nodelay": true}
	lines := strings.Split(wholeTransport, "\n")
	for i := range lines {
		with := append(append([]string{}, lines[:i]...), "socket {", "nodelay on", "}")
		require.Equal(t, want, proxyJSON(t, transportDirective.caddyfile(lab.Block(append(with, lines[i:]...)...))))
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
	{"unknown line", lab.Block("no_delay on"), 1, "unrecognized subdirective no_delay"},
	{"option outside of socket", lab.Block("dial_timeout 2s", "nodelay on"), 2, "unrecognized subdirective nodelay"},
	{"bad value of http's", lab.Block("socket {", "nodelay on", "}", "dial_timeout soon"), 4, "bad timeout value 'soon'"},
	{"socket twice", lab.Block("socket {", "nodelay on", "}", "socket {", "ttl 9", "}"), 4, "socket is set twice; leave one of them out"},
	{"socket with an argument", lab.Block("socket nodelay on"), 1, `socket takes no argument, but options in a block, one a line; "nodelay" is too many`},
	{"socket with an argument and a block", lab.Block("socket on {", "nodelay on", "}"), 1, `socket takes no argument, but options in a block, one a line; "on" is too many`},
	{"unknown option", lab.Block("socket {", "nodelay on", "no_delay on", "}"), 3, `unknown option "no_delay"; here it can be ` + dialNames},
	{"line of http's in socket", lab.Block("socket {", "dial_timeout 2s", "}"), 2, `unknown option "dial_timeout"; here it can be ` + dialNames},
	{"option twice", lab.Block("socket {", "ttl 9", "ttl 9", "}"), 3, "ttl is set twice; leave one of them out"},
	{"bad value", lab.Block("socket {", "dscp gold", "}"), 2, `dscp: "gold" is not a`},
	{"of accepted connections", lab.Block("socket {", "linger 0s", "}"), 2, "linger cannot be set here, but on accepted connections; here it can be " + dialNames},
	{"of listening sockets", lab.Block("socket {", "backlog 9", "}"), 2, "backlog cannot be set here, but on listening sockets; here it can be " + dialNames},
	{"of routes", lab.Block("socket {", "cork on", "}"), 2, "cork cannot be set here, but for the requests of a route; here it can be " + dialNames},
}

func TestTransportCaddyfileRefuses(t *testing.T) {
	for _, test := range badTransports {
		t.Run(test.name, func(t *testing.T) {
			_, err := inprocess.Adapt(transportDirective.caddyfile(test.follows))
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
			adapted, err := inprocess.Adapt(c.config("", proxySite("http://"+c.addr, "sockopt")))
			require.NoError(t, err)
			body := strings.Replace(string(adapted), `{"protocol":"sockopt"}`, test.transport, 1)
			require.Contains(t, body, test.transport)
			status, answer := c.Load("application/json", body)
			require.Equal(t, http.StatusBadRequest, status, answer)
			require.Contains(t, answer, jsonText(test.want))
			client.get(t)
		})
	}
	require.Empty(t, activeTransports.now())

	status, answer := c.Load("text/caddyfile", c.config("", proxySite("http://"+c.addr, "sockopt"+lab.Block("tls", "versions 3"))))
	require.Equal(t, http.StatusOK, status, answer)
}

// A Transport is provisioned by whoever embeds one, too: outside of a server and
// of a reverse_proxy.
func TestTransportOutsideOfReverseProxy(t *testing.T) {
	transport := provisionedTransport(t, new(Transport))
	require.NoError(t, lab.Get(t.Context(), &http.Client{Transport: transport}, "http://"+serveStars(t)))
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
	response := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n%s", lab.Stars[:1000])
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
