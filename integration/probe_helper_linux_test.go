package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
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

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/probe"
)

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
