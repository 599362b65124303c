package integration_test

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/probe"
)

// probeServer is a server for the probe. It serves 10,000 bytes.
type probeServer struct {
	name  string
	start func(t testing.TB) (addr string)
	want  probe.Verdict // directly
	short bool          // also in the short form
}

var probeServers = []probeServer{
	{"Paste", withPaste(), probe.Both, true},
	{"Paste, TCP_NODELAY", withPaste("--nodelay"), probe.DelayedAck, false},
	{"Paste, 50 ms of work", withPaste("--nodelay", "--delay", "0.05"), probe.OtherSlow, true},
	{"http.server", func(t testing.TB) string { return shared(t, func(addr string) { lab.PythonHTTP(t, addr) }) }, probe.Both, false},
	{"nginx", func(t testing.TB) string { return shared(t, func(addr string) { lab.Nginx(t, addr) }) }, probe.DelayedAck, true},
	{"HAProxy", func(t testing.TB) string { return shared(t, func(addr string) { lab.HAProxy(t, addr) }) }, probe.DelayedAck, false},
	{"Apache httpd", apache, probe.DelayedAck, false},
	{"lighttpd", lighttpd, probe.DelayedAck, false},
	{"Caddy", withCaddy("", "echo_payload"), probe.DelayedAck, true},
	{"Caddy, file_server", withCaddy("", "root %s\nfile_server"), probe.DelayedAck, false},
	{"Caddy, sockopt", withCaddy("sockopt", "echo_payload"), probe.NoStall, true},
	{"Caddy, quickack on", withCaddy("sockopt {\nquickack on\n}", "echo_payload"), probe.NoStall, false},
	{"Caddy, quickack off", withCaddy("sockopt {\nquickack off\n}", "echo_payload"), probe.DelayedAck, false},
	{"Caddy, nodelay off", withCaddy("sockopt {\nnodelay off\n}", "echo_payload"), probe.Nagle, true},
	{"Caddy, nodelay off, quickack off", withCaddy("sockopt {\nnodelay off\nquickack off\n}", "echo_payload"), probe.Both, false},
	{"Go", goServer(0, 0), probe.DelayedAck, false},
	{"Go, 40 to 60 ms of work", goServer(40*time.Millisecond, 20*time.Millisecond), probe.OtherSlow, false},
	{"Node.js", script("node", "-e", `require("http").createServer((q, r) => r.end("*".repeat(10000))).listen(PORT, "127.0.0.1")`), probe.DelayedAck, false},
	{"gunicorn", wsgi("gunicorn", "-k", "gthread", "-b", "127.0.0.1:PORT", "app:app"), probe.DelayedAck, false},
	{"waitress", wsgi("waitress-serve", "--listen", "127.0.0.1:PORT", "app:app"), probe.DelayedAck, false},
	{"uWSGI", wsgi("uwsgi", "--plugin", "python3", "--http11-socket", "127.0.0.1:PORT", "--module", "app:app"), probe.DelayedAck, false},
	{"Werkzeug", wsgi(lab.Python, "-c", `import app, werkzeug.serving as w
w.WSGIRequestHandler.protocol_version = "HTTP/1.1"
w.run_simple("127.0.0.1", PORT, app.app, threaded=True)`), probe.NoStall, false},
	{"CherryPy (Cheroot)", wsgi(lab.Python, "-c", `import app, cheroot.wsgi
cheroot.wsgi.Server(("127.0.0.1", PORT), app.app).start()`), probe.DelayedAck, false},
	{"Twisted", wsgi("twistd3", "--nodaemon", "--pidfile=", "web", "--listen", "tcp:PORT:interface=127.0.0.1", "--path", "."), probe.DelayedAck, false},
	{"Tornado", wsgi(lab.Python, "-c", `import tornado.web, tornado.ioloop
class H(tornado.web.RequestHandler):
    def get(self): self.write("*" * 10000)
tornado.web.Application([("/", H)]).listen(PORT, "127.0.0.1")
tornado.ioloop.IOLoop.current().start()`), probe.DelayedAck, false},
	{"aiohttp", wsgi(lab.Python, "-c", `from aiohttp import web
async def h(r): return web.Response(text="*" * 10000)
a = web.Application()
a.router.add_get("/", h)
web.run_app(a, host="127.0.0.1", port=PORT, print=None)`), probe.DelayedAck, false},
	{"Uvicorn", wsgi("uvicorn", "--host", "127.0.0.1", "--port", "PORT", "--interface", "wsgi", "--log-level", "error", "app:app"), probe.DelayedAck, false},
	{"PHP", wsgi("php", "-S", "127.0.0.1:PORT"), probe.NoStall, false},
	{"Puma", wsgi("puma", "-b", "tcp://127.0.0.1:PORT", "config.ru"), probe.DelayedAck, false},
}

// reverseProxies start a stock proxy for a backend. Each keeps its connections to it.
var reverseProxies = []struct {
	name  string
	start func(t testing.TB, backend string) (addr string)
}{
	{"Caddy", func(t testing.TB, backend string) string { return withCaddy("", "reverse_proxy "+backend)(t) }},
	{"nginx", func(t testing.TB, backend string) string { return proxyWith(t, backend, "", lab.NginxCommand) }},
	{"HAProxy", func(t testing.TB, backend string) string { return proxyWith(t, backend, "", lab.HAProxyCommand) }},
}

// TestProbe: the command judges real servers, directly and behind proxies. The long
// form has all of them behind each proxy, and logs the table.
func TestProbe(t *testing.T) {
	t.Parallel()
	for _, s := range probeServers {
		if !s.short && !lab.IsLong() {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel() // it waits for timers most of the time
			addr := s.start(t)
			verdict := judged(t, s.want, "http://"+addr+"/").Verdict
			require.Equal(t, s.want, verdict)
			row := []string{s.name, string(verdict)}
			for _, p := range reverseProxies {
				if lab.IsLong() || s.want == probe.Both && p.name != "nginx" || s.want == probe.OtherSlow && p.name == "Caddy" {
					want := probe.DelayedAck
					switch {
					case s.want.Waits() && p.name == "nginx" && strings.HasPrefix(s.name, "Caddy"):
						// nginx reads this response so that its kernel acknowledges at once.
					case s.want.Waits():
						want = probe.Behind
					case s.want == probe.OtherSlow:
						want = probe.OtherSlow
					}
					behind := judged(t, want, "http://"+p.start(t, addr)+"/").Verdict
					row = append(row, string(behind))
					if want == probe.Behind { // others may join it
						require.Contains(t, behind, want, p.name)
					} else {
						require.Equal(t, want, behind, p.name)
					}
				}
			}
			t.Logf("| %s |", strings.Join(row, " | "))
		})
	}
}

// TestProbeGRPC: an error is an answer.
func TestProbeGRPC(t *testing.T) {
	server := grpc.NewServer()
	ln, err := net.Listen("tcp", lab.Loopback+":0")
	require.NoError(t, err)
	go func() { _ = server.Serve(ln) }()
	defer server.Stop()
	var report *probe.Report
	_ = thrice(func() error {
		report, err = probe.Run(t.Context(), probe.Options{URL: "http://" + ln.Addr().String() + "/", HTTP2: true, Requests: 5})
		require.NoError(t, err)
		return slow(report.Verdict)
	})
	require.Equal(t, http.StatusUnsupportedMediaType, report.Status)
	require.Equal(t, "HTTP/2", report.Protocol)
	require.Contains(t, []probe.Verdict{probe.NoStall, probe.DelayedAck}, report.Verdict, "%q", report.Evidence)
}
