package integration_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/probe"
)

// freshClient is a client as programs in Python have it: it prints the median time in
// milliseconds from the end of the handshake to the first byte of the response, with
// Nagle's algorithm on and off.
const freshClient = `
import socket, ssl, statistics, sys, time

context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

def took(nodelay):
    raw = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
    with context.wrap_socket(raw) as conn:
        begin = time.monotonic()
        conn.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert conn.recv(1) == b"H"
        return (time.monotonic() - begin) * 1000

print(*(statistics.median(took(nodelay) for _ in range(7)) for nodelay in (0, 1)))
`

// secureHTTPServer is Python's own server over TLS.
const secureHTTPServer = `
import http.server, ssl, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "10000")
        self.end_headers()
        self.wfile.write(b"*" * 10000)

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
`

// freshCurl is how long curl takes over HTTP/2 from the end of the handshake to the first
// byte of the response.
func freshCurl(t testing.TB, addr string, nagle string) time.Duration {
	t.Helper()
	var times []time.Duration
	for range lab.Long(3, 7) {
		output, err := lab.Output(lab.Command(t.Context(), lab.Require(t, "curl"), "--silent", "--insecure", "--http2", nagle,
			"--output", "/dev/null", "--write-out", "%{http_version} %{time_appconnect} %{time_starttransfer}", "https://"+addr+"/"))
		require.NoError(t, err)
		var version string
		var connected, answered float64
		_, err = fmt.Sscan(output, &version, &connected, &answered)
		require.NoError(t, err, output)
		require.Equal(t, "2", version)
		times = append(times, time.Duration((answered-connected)*float64(time.Second)))
	}
	return lab.Median(times)
}

// TestProbeHandshake: new connections over TLS wait with the probe where they wait with a
// client in Python, and over HTTP/2 with curl, and with no other server.
func TestProbeHandshake(t *testing.T) {
	t.Parallel()
	certificate := lab.Certify(t).File
	caddy := func(lines, directives string) func(testing.TB) string {
		return func(t testing.TB) string {
			addr, global := lab.Address(t), ""
			if lines != "" {
				global = lab.Wrappers(lines)
			}
			lab.Spawn(t, global, fmt.Sprintf("https://%s {\n%s\ntls %s %[3]s\n}", addr, directives, certificate))
			return addr
		}
	}
	goTLS := func(work time.Duration, configure func(*tls.Config)) func(testing.TB) string {
		return func(t testing.TB) string {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(work)
				_, _ = w.Write(lab.Stars)
			}))
			server.TLS = new(tls.Config)
			configure(server.TLS)
			server.EnableHTTP2 = true
			server.StartTLS()
			t.Cleanup(server.Close)
			return server.Listener.Addr().String()
		}
	}
	serving := func(configure func(string, lab.Serving) ([]string, error)) func(testing.TB) string {
		return func(t testing.TB) string {
			addr, dir := lab.Address(t), payloadDir(t)
			command, err := configure(dir, lab.Serving{Root: dir, TLSAddr: addr, Certificate: certificate})
			require.NoError(t, err)
			lab.Serve(t, addr, command[0], command[1:]...)
			return addr
		}
	}
	as := func(*tls.Config) {}
	const (
		waits  = "waits"
		spares = "spares"
	)
	for _, test := range []struct {
		name  string
		start func(testing.TB) string
		want  string // "" is what the client in Python finds
		short bool   // also in the short form
	}{
		{"Caddy", caddy("", "echo_payload"), waits, true},
		{"Caddy, sockopt", caddy("sockopt", "echo_payload"), spares, true},
		{"Go", goTLS(0, as), waits, false},
		{"Go, 40 ms of work", goTLS(40*time.Millisecond, as), waits, false},
		{"Caddy, sockopt, before 40 ms of work", func(t testing.TB) string {
			return caddy("sockopt", "reverse_proxy "+goServer(40*time.Millisecond, 1)(t))(t)
		}, spares, true},
		{"Go, client certificates", goTLS(0, func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert }), spares, true},
		{"Go, TLS 1.2", goTLS(0, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), spares, false},
		{"nginx", serving(lab.NginxCommand), "", true},
		{"HAProxy", serving(lab.HAProxyCommand), "", false},
		{"Apache httpd", func(t testing.TB) string {
			return apacheWith(t, []string{"ssl"}, fmt.Sprintf("SSLEngine on\nSSLCertificateFile %s", certificate))
		}, "", false},
		{"lighttpd", func(t testing.TB) string {
			return lighttpdWith(t, fmt.Sprintf("server.modules += ( \"mod_openssl\" )\nssl.engine = \"enable\"\nssl.pemfile = \"%s\"", certificate))
		}, "", false},
		{"http.server", func(t testing.TB) string {
			addr := lab.Address(t)
			lab.Serve(t, addr, lab.Python, "-c", secureHTTPServer, lab.PortOf(addr), certificate)
			return addr
		}, "", false},
		{"through Caddy", func(t testing.TB) string { return caddy("", "reverse_proxy "+goServer(0, 0)(t))(t) }, waits, false},
		{"through nginx", func(t testing.TB) string {
			return proxyWith(t, goServer(0, 0)(t), certificate, lab.NginxCommand)
		}, "", false},
		{"through HAProxy", func(t testing.TB) string {
			return proxyWith(t, goServer(0, 0)(t), certificate, lab.HAProxyCommand)
		}, "", false},
	} {
		if !test.short && !lab.IsLong() {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // it waits for timers most of the time
			addr := test.start(t)
			require.NoError(t, thrice(func() error { // a busy machine delays one of them
				var nagle, nodelay float64
				client, err := lab.Output(lab.Command(t.Context(), lab.Require(t, lab.Python), "-c", freshClient, lab.PortOf(addr)))
				require.NoError(t, err)
				_, err = fmt.Sscan(client, &nagle, &nodelay)
				require.NoError(t, err)
				report := probed(t, "https://"+addr+"/", "--insecure", "--http1")
				verdict := report.Verdict
				t.Logf("| %s | %.1f | %.1f | %s | %q", test.name, nagle, nodelay, verdict, report.Evidence)
				python := nagle > nodelay+20
				if test.want != "" && python != (test.want == waits) || python != strings.Contains(string(verdict), string(probe.AfterHandshake)) {
					return fmt.Errorf("the client in Python takes %v ms with Nagle's algorithm and %v ms without: %s", nagle, nodelay, verdict)
				}
				return nil
			}))
			if !slices.Contains([]string{"Caddy", "Caddy, sockopt", "Go", "nginx", "HAProxy"}, test.name) {
				return
			}
			require.NoError(t, thrice(func() error {
				nagle, nodelay := freshCurl(t, addr, "--no-tcp-nodelay"), freshCurl(t, addr, "--tcp-nodelay")
				report := probed(t, "https://"+addr+"/", "--insecure", "--http2")
				t.Logf("| %s, HTTP/2 | %v | %v | %s | %q", test.name, nagle, nodelay, report.Verdict, report.Evidence)
				waits := nagle > nodelay+20*time.Millisecond
				if waits != strings.Contains(string(report.Verdict), string(probe.AfterHandshake)) {
					return fmt.Errorf("curl takes %v with Nagle's algorithm and %v without: %s", nagle, nodelay, report.Verdict)
				}
				return nil
			}))
		})
	}
}
