package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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

// judged runs the probe. Where the machine is busy, requests take as long as with a
// timer, and the verdict says so: it runs again, twice at most.
func judged(t testing.TB, want probe.Verdict, url string, flags ...string) (report *probe.Report) {
	t.Helper()
	_ = thrice(func() error {
		report = probed(t, url, flags...)
		t.Logf("%s: %s: %q", url, report.Verdict, report.Evidence)
		for _, e := range report.Experiments {
			t.Log(e.Number, e.Seconds)
		}
		if want == probe.OtherSlow {
			return nil
		}
		return slow(report.Verdict)
	})
	return report
}

// slow is an error for the verdict that a busy machine gets.
func slow(verdict probe.Verdict) error {
	if verdict == probe.OtherSlow {
		return errors.New(string(verdict))
	}
	return nil
}

// probed runs the command, and checks its exit status.
func probed(t testing.TB, url string, flags ...string) *probe.Report {
	t.Helper()
	requests := lab.Long(5, 10)
	stdout, stderr, err := lab.CaddyOutput(t, append([]string{"sockopt", "probe", "--json", "--requests", strconv.Itoa(requests), url}, flags...)...)
	report := new(probe.Report)
	require.NoError(t, json.Unmarshal([]byte(stdout), report), stderr)
	require.Equal(t, exitStatusOf(report.Verdict), exitOf(t, err), stderr)
	plan, err := probe.Options{URL: url, Requests: requests}.Plan()
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("Sending at most %d requests to %s, one connection at a time and %d in all.\n", plan.Requests, url, plan.Connections), stderr)
	return report
}

// exitStatusOf is the exit status of a verdict.
func exitStatusOf(v probe.Verdict) int {
	switch {
	case v == probe.Unclear:
		return 1
	case v.Waits():
		return 2
	case v.WaitsWithNagle():
		return 3
	}
	return 0
}

func exitOf(t testing.TB, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	require.True(t, ok, "%v", err)
	return exit.ExitCode()
}

// TestProbeAdvice: the Caddyfile of each verdict, run in front of the probed server,
// cures it, over http and https, HTTP/1.1 and HTTP/2.
func TestProbeAdvice(t *testing.T) {
	t.Parallel()
	certificate := lab.Certify(t).File
	own := "tls " + certificate + " " + certificate
	secure := func(lines string, directives ...string) func(testing.TB) (string, string) {
		return func(t testing.TB) (string, string) {
			addr := lab.Address(t)
			lab.Spawn(t, lab.Wrappers(lines), "https://"+addr+" {\n"+strings.Join(append(directives, own), "\n")+"\n}")
			return addr, ""
		}
	}
	direct := func(start func(testing.TB) string) func(testing.TB) (string, string) {
		return func(t testing.TB) (string, string) { return start(t), "" }
	}
	for _, test := range []struct {
		name, scheme string
		start        func(t testing.TB) (addr, backend string)
		flags        []string
		want         probe.Verdict
		short        bool // also in the short form
	}{
		{"Paste", "http", direct(withPaste()), nil, probe.Both, true},
		{"nginx", "http", direct(probeServers[4].start), nil, probe.DelayedAck, false},
		{"h2c", "http", direct(goServer(0, 0)), []string{"--http2"}, probe.DelayedAck, true},
		{"Nagle over https, HTTP/1.1", "https", secure("sockopt {\nnodelay off\nquickack off\n}", "echo_payload"), []string{"--http1"}, probe.Both + " and " + probe.AfterHandshake, false},
		{"Nagle over https, HTTP/2", "https", secure("sockopt {\nnodelay off\n}", "echo_payload"), nil, probe.Nagle, true},
		{"stock Caddy over https", "https", secure("http_redirect\ntls", "echo_payload"), nil, probe.DelayedAck, false},
		{"behind Caddy", "http", func(t testing.TB) (string, string) {
			backend := withPaste()(t)
			return reverseProxies[0].start(t, backend), backend
		}, nil, probe.Behind, false},
		{"behind Caddy over https", "https", func(t testing.TB) (string, string) {
			backend := withPaste()(t)
			addr, _ := secure("http_redirect\ntls", "reverse_proxy "+backend)(t)
			return addr, backend
		}, nil, probe.Behind, true},
	} {
		if !test.short && !lab.IsLong() {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // it waits for timers most of the time
			addr, backend := test.start(t)
			flags := append([]string{"--insecure"}, test.flags...)
			report := judged(t, test.want, test.scheme+"://"+addr+"/", flags...)
			require.Equal(t, test.want, report.Verdict)
			global, site := advised(t, report.Fix)
			listens := lab.Address(t)
			at := test.scheme + "://" + listens
			site = strings.Replace(site, test.scheme+"://127.0.0.1 {", at+" {", 1)
			site = strings.ReplaceAll(site, "BACKEND:PORT", backend)
			lab.Spawn(t, global, site)
			if test.scheme == "https" {
				awaitCertificate(t, listens)
			}
			t.Logf("%s\n%s", global, site)
			require.Equal(t, probe.NoStall, judged(t, probe.NoStall, at+"/", flags...).Verdict)
		})
	}
}

// awaitCertificate returns when Caddy has issued itself one, which it does while it
// serves already.
func awaitCertificate(t testing.TB, addr string) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test's own
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, lab.Patience, 10*time.Millisecond)
}

// advised splits the Caddyfile in a text into global options and sites.
func advised(t testing.TB, fix string) (global, sites string) {
	t.Helper()
	_, caddyfile, ok := strings.Cut(fix, "\n\t{\n")
	require.True(t, ok, fix)
	global, sites, ok = strings.Cut(caddyfile, "\n\t}\n")
	require.True(t, ok, fix)
	return global, sites
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

// TestProbeErrors: exit status 1, and why.
func TestProbeErrors(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(nil)
	defer secure.Close()
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "Usage:"},
		{nil, "give one URL, not 0"},
		{[]string{"http://localhost", "http://localhost"}, "give one URL, not 2"},
		{[]string{"http://" + lab.Address(t) + "/"}, "connection refused"},
		{[]string{"localhost"}, "is not a URL such as"},
		{[]string{"127.0.0.1:30001"}, "is not a URL such as"},
		{[]string{"--compare", "localhost", "http://localhost"}, "is not a URL such as"},
		{[]string{"--requests", "0", "http://localhost"}, "--requests 0 would measure nothing"},
		{[]string{"--requests", "9999", "http://localhost"}, "more than the 10000"},
		{[]string{"--method", "POST", "--requests", "1600", "--body-size", "67108864", "http://localhost"}, "choose fewer requests or a smaller body"},
		{[]string{"--header", "X", "http://localhost"}, `such as "Accept: text/html"`},
		{[]string{"--header", "X Y: z", "http://localhost"}, `header "X Y" is not a field's name`},
		{[]string{"--method", "a b", "http://localhost"}, "is not one such as GET"},
		{[]string{strings.Replace(secure.URL, "https", "http", 1)}, "this port speaks TLS; probe " + secure.URL},
		{[]string{"http://me:secret@" + lab.Address(t) + "/"}, "connection refused"},
	} {
		_, stderr, err := lab.CaddyOutput(t, append([]string{"sockopt", "probe"}, test.args...)...)
		require.Equal(t, 1, exitOf(t, err), "%q", test.args)
		require.Contains(t, strings.ReplaceAll(stderr, `\"`, `"`), test.want)
		require.NotContains(t, stderr, "secret")
	}
}

// TestProbeComparesWithNothing: the results of one URL are printed where the other has
// none, in either order.
func TestProbeComparesWithNothing(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close") // which makes a run short
	}))
	defer server.Close()
	refuses := "http://" + lab.Address(t) + "/"
	for _, urls := range [][]string{{server.URL, refuses}, {refuses, server.URL}} {
		stdout, stderr, err := lab.CaddyOutput(t, "sockopt", "probe", "--json", "--compare", urls[1], urls[0])
		require.Equal(t, 1, exitOf(t, err))
		require.Contains(t, stderr, refuses+": ")
		require.Contains(t, stderr, "connection refused")
		var reports []probe.Report
		require.NoError(t, json.Unmarshal([]byte(stdout), &reports))
		require.Len(t, reports, 1)
		require.Equal(t, server.URL, reports[0].URL)
	}
}

// TestProbeInterrupted says so.
func TestProbeInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		interrupt()
		<-r.Context().Done()
	}))
	defer server.Close()
	cmd, err := lab.CaddyCommand(ctx, t.TempDir(), nil, "sockopt", "probe", server.URL)
	require.NoError(t, err)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &stderr, lab.Patience
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	require.Equal(t, 1, exitOf(t, cmd.Run()))
	require.Contains(t, stderr.String(), "interrupted before the end of the run")
	require.NotContains(t, stderr.String(), "context")
}

// TestProbePrints: the table, the picture with a dot for each request, and both of two
// URLs side by side.
func TestProbePrints(t *testing.T) {
	t.Parallel()
	stock, cured := withCaddy("", "echo_payload")(t), withCaddy("sockopt", "echo_payload")(t)
	args := []string{"sockopt", "probe", "--requests", "10", "--compare", "http://" + cured + "/", "http://" + stock + "/"}
	file := filepath.Join(t.TempDir(), "picture.svg")
	var stdout, stderr string
	var err error
	_ = thrice(func() error {
		stdout, stderr, err = lab.CaddyOutput(t, append(args, "--svg", file)...)
		if strings.Contains(stdout, string(probe.OtherSlow)) {
			return slow(probe.OtherSlow)
		}
		return nil
	})
	require.Equal(t, 3, exitOf(t, err), stderr)
	for _, line := range []string{
		"A  GET http://" + stock, "B  GET http://" + cured, "A: REQ/S", "B: REQ/S",
		"A  Verdict: server-side delayed ACK. Ordinary requests do not wait.", "B  Verdict: no stall. Nobody waits for a timer.",
	} {
		require.Contains(t, stdout, line)
	}
	text, err := os.ReadFile(file) //nolint:gosec // the test's own
	require.NoError(t, err)
	require.NoError(t, xml.Unmarshal(text, new(struct{})))
	const legend = 6
	require.Equal(t, 2*6*10+legend, strings.Count(string(text), "<circle"))
	for _, label := range []string{stock, cured, "requests", "time of a request", "keep-alive", "prefers-color-scheme: dark"} {
		require.Contains(t, string(text), label)
	}
	_, _, err = lab.CaddyOutput(t, append(args, "--svg", t.TempDir())...)
	require.Equal(t, 1, exitOf(t, err), "a directory is not a file")

	var both []probe.Report
	_ = thrice(func() error {
		stdout, _, _ = lab.CaddyOutput(t, append(args, "--json")...)
		require.NoError(t, json.Unmarshal([]byte(stdout), &both))
		require.Len(t, both, 2)
		return slow(both[1].Verdict)
	})
	require.Equal(t, probe.NoStall, both[1].Verdict)
}

// shared starts a server that shares a reserved port.
func shared(t testing.TB, start func(addr string)) string {
	addr := lab.Address(t)
	start(addr)
	return addr
}

func withPaste(flags ...string) func(testing.TB) string {
	return func(t testing.TB) string { return shared(t, func(addr string) { lab.Paste(t, addr, flags...) }) }
}

// withCaddy starts a Caddy with listener wrappers and a site's directives, in which %s
// is a directory with the payload.
func withCaddy(lines, directives string) func(testing.TB) string {
	return func(t testing.TB) string {
		global := ""
		if lines != "" {
			global = lab.Wrappers(lines)
		}
		if strings.Contains(directives, "%s") {
			directives = fmt.Sprintf(directives, payloadDir(t))
		}
		return shared(t, func(addr string) { lab.Spawn(t, global, "http://"+addr+" {\n"+directives+"\n}") })
	}
}

// goServer works for some time, and for up to so much longer.
func goServer(work, longer time.Duration) func(testing.TB) string {
	return func(t testing.TB) string {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if work > 0 {
				time.Sleep(work + rand.N(longer)) //nolint:gosec // no secret
			}
			_, _ = w.Write(lab.Stars)
		}))
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetHTTP1(true)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		server.Start()
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
}

func payloadDir(t testing.TB) string {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755)) //nolint:gosec // some servers drop root's rights
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.html"), lab.Stars, 0o644)) //nolint:gosec // likewise
	return dir
}

// script starts a program, in whose arguments PORT is a port.
func script(program string, args ...string) func(testing.TB) string {
	return func(t testing.TB) string {
		addr := lab.Address(t)
		args := slices.Clone(args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "PORT", lab.PortOf(addr))
		}
		lab.Serve(t, addr, program, args...)
		return addr
	}
}

// wsgi starts a program in a directory with the payload and applications that serve it.
func wsgi(program string, args ...string) func(testing.TB) string {
	return func(t testing.TB) string {
		dir := payloadDir(t)
		for name, text := range map[string]string{
			"app.py": `def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10000")])
    return [b"*" * 10000]
`,
			"config.ru": `run ->(env) { [200, {"content-type" => "text/plain", "content-length" => "10000"}, ["*" * 10000]] }` + "\n",
		} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)) //nolint:gosec // the test's own
		}
		inDir := append([]string{"-C", dir, lab.Require(t, program)}, args...)
		return script("env", inDir...)(t)
	}
}

func apache(t testing.TB) string { return apacheWith(t, nil, "") }

// apacheWith has further modules and lines.
func apacheWith(t testing.TB, more []string, lines string) string {
	addr, dir := lab.Address(t), payloadDir(t)
	var modules strings.Builder
	for _, m := range append([]string{"mpm_event", "authz_core", "mime", "dir"}, more...) {
		fmt.Fprintf(&modules, "LoadModule %s_module /usr/lib/apache2/modules/mod_%[1]s.so\n", m)
	}
	return configured(t, addr, fmt.Sprintf(`ServerRoot %[1]s
DefaultRuntimeDir %[1]s
PidFile %[1]s/pid
ServerName localhost
ErrorLog %[1]s/error.log
%[2]sUser nobody
Group nogroup
MaxKeepAliveRequests 0
TypesConfig /dev/null
DocumentRoot %[1]s
DirectoryIndex index.html
Listen %[3]s
%[4]s
`, dir, &modules, addr, lines), "apache2", "-DFOREGROUND", "-f")
}

func lighttpd(t testing.TB) string { return lighttpdWith(t, "") }

// lighttpdWith has further lines.
func lighttpdWith(t testing.TB, lines string) string {
	addr, dir := lab.Address(t), payloadDir(t)
	return configured(t, addr, fmt.Sprintf(`server.modules = ( "mod_indexfile", "mod_staticfile" )
server.bind = "127.0.0.1"
server.port = %s
server.document-root = "%s"
server.max-keep-alive-requests = 65535
index-file.names = ( "index.html" )
mimetype.assign = ( "" => "text/plain" )
%s
`, lab.PortOf(addr), dir, lines), "lighttpd", "-D", "-f")
}

// configured starts a server whose last argument is the file with its configuration.
func configured(t testing.TB, addr, text, program string, args ...string) string {
	file := filepath.Join(t.TempDir(), "configuration")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	lab.Serve(t, addr, program, append(args, file)...)
	return addr
}

// proxyWith starts a proxy, which has TLS where there is a certificate.
func proxyWith(t testing.TB, backend, certificate string, configure func(string, lab.Serving) ([]string, error)) string {
	addr, dir := lab.Address(t), t.TempDir()
	command, err := configure(dir, lab.Serving{
		Root: dir, Certificate: certificate, Proxies: []lab.Proxy{{Addr: addr, Backend: backend, TLS: certificate != ""}},
	})
	require.NoError(t, err)
	lab.Serve(t, addr, command[0], command[1:]...)
	return addr
}
