package sockopt

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/probe"
)

// TestProbe has the command judge real servers.
func TestProbe(t *testing.T) {
	for _, test := range []struct {
		name  string
		start func(t testing.TB, addr string)
		want  probe.Verdict
	}{
		{"Paste", func(t testing.TB, addr string) { paste(t, addr) }, probe.Both},
		{"Paste, TCP_NODELAY", func(t testing.TB, addr string) { paste(t, addr, "--nodelay") }, probe.DelayedAck},
		{"Paste, slow", func(t testing.TB, addr string) { paste(t, addr, "--nodelay", "--delay", "0.2") }, probe.OtherSlow},
		{"http.server", func(t testing.TB, addr string) { pythonHTTP(t, addr) }, probe.Both},
		{"nginx", nginx, probe.DelayedAck},
		{"HAProxy", haproxy, probe.DelayedAck},
		{"stock Caddy", caddyWith(""), probe.DelayedAck},
		{"quickack auto", caddyWith("sockopt"), probe.NoStall},
		{"quickack on", caddyWith("sockopt {\nquickack on\n}"), probe.NoStall},
		{"quickack off", caddyWith("sockopt {\nquickack off\n}"), probe.DelayedAck},
		{"nodelay off", caddyWith("sockopt {\nnodelay off\n}"), probe.Nagle},
		{"nodelay off, quickack off", caddyWith("sockopt {\nnodelay off\nquickack off\n}"), probe.Both},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := address(t)
			test.start(t, addr)
			stdout, stderr, err := caddyCommand(t, "sockopt", "probe", "--json", "--requests", "10", "http://"+addr+"/")
			var report probe.Report
			require.NoError(t, json.Unmarshal([]byte(stdout), &report), stderr)
			t.Logf("%s: %q", report.Verdict, report.Evidence)
			require.Equal(t, test.want, report.Verdict, stdout)
			require.Equal(t, "Sending at most 160 requests to http://"+addr+"/, one connection at a time and 15 in all.\n", stderr)
			if !test.want.Stalls() {
				require.NoError(t, err)
				return
			}
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, exitStall, exit.ExitCode())
		})
	}
}

// TestProbeOverTLS splits the records.
func TestProbeOverTLS(t *testing.T) {
	for _, test := range []struct {
		wrapping
		want probe.Verdict
	}{
		{wrapStock, probe.DelayedAck},
		{wrapAuto, probe.NoStall},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l lineup
			server := l.add(t, test.wrapping, protocolTLS, "echo_payload")
			l.spawn(t)
			report, err := probe.Run(t.Context(), probe.Options{URL: "https://" + server.addr + "/", Insecure: true, Requests: 10})
			require.NoError(t, err)
			require.Equal(t, test.want, report.Verdict, "%q", report.Evidence)
		})
	}
}

// TestProbeErrors: exit status 1, and why.
func TestProbeErrors(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"http://" + address(t) + "/"}, "connection refused"},
		{[]string{"localhost"}, "is not a URL such as"},
		{[]string{"--requests", "9999", "http://localhost"}, "at most 10000"},
		{[]string{"--header", "X", "http://localhost"}, `such as "Accept: text/html"`},
		{[]string{"--method", "a b", "http://localhost"}, "is not one such as GET"},
	} {
		_, stderr, err := caddyCommand(t, append([]string{"sockopt", "probe"}, test.args...)...)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, 1, exit.ExitCode())
		require.Contains(t, strings.ReplaceAll(stderr, `\"`, `"`), test.want)
	}
}

// TestProbeMendsAreRight adapts the Caddyfiles that it gives.
func TestProbeMendsAreRight(t *testing.T) {
	for verdict, file := range map[probe.Verdict]string{
		probe.Nagle:      ":80 {\n%s}\n",
		probe.DelayedAck: "%s:80 {\n}\n",
	} {
		r := probe.Report{Verdict: verdict}
		var lines strings.Builder
		for line := range strings.Lines(r.Mend()) {
			if strings.HasPrefix(line, "\t") {
				lines.WriteString(strings.Replace(line, "HOST:PORT", "localhost:9000", 1))
			}
		}
		require.Contains(t, lines.String(), "sockopt")
		_, err := adapt(fmt.Sprintf(file, lines.String()))
		require.NoError(t, err)
	}
}

// TestProbeDraws has a picture drawn that is well-formed, with a dot for each request.
func TestProbeDraws(t *testing.T) {
	addr := address(t)
	caddyWith("sockopt")(t, addr)
	file := filepath.Join(t.TempDir(), "picture.svg")
	_, stderr, err := caddyCommand(t, "sockopt", "probe", "--requests", "10", "--svg", file, "http://"+addr+"/")
	require.NoError(t, err, stderr)
	text, err := os.ReadFile(file) //nolint:gosec // the test's own
	require.NoError(t, err)
	require.NoError(t, xml.Unmarshal(text, new(struct{})))
	const legend = 6
	require.Equal(t, 6*10+legend, strings.Count(string(text), "<circle"))
	for _, label := range []string{"requests", "time of a request", "keep-alive", "prefers-color-scheme: dark"} {
		require.Contains(t, string(text), label)
	}
	_, _, err = caddyCommand(t, "sockopt", "probe", "--requests", "10", "--svg", t.TempDir(), "http://"+addr+"/")
	require.Error(t, err, "a directory is no file")
}

// caddyWith starts a Caddy whose listener is wrapped in lines.
func caddyWith(lines string) func(t testing.TB, addr string) {
	return func(t testing.TB, addr string) {
		global := ""
		if lines != "" {
			global = wrappers(lines)
		}
		spawn(t, global, echoSite(addr))
	}
}

// nginx serves the payload from a file.
func nginx(t testing.TB, addr string) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))                                         //nolint:gosec // nginx drops root's rights
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.html"), stars, 0o644)) //nolint:gosec // likewise
	file := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	server { listen %[2]s reuseport; root %[1]s; }
}
`, dir, addr), 0o600))
	startServer(t, addr, "nginx", "-e", "stderr", "-c", file)
}

// haproxy returns the payload.
func haproxy(t testing.TB, addr string) {
	dir := t.TempDir()
	payload, file := filepath.Join(dir, "payload"), filepath.Join(dir, "haproxy.cfg")
	require.NoError(t, os.WriteFile(payload, stars, 0o600))
	_, _, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `global
	tune.bufsize 32768
defaults
	mode http
	timeout client 30s
	timeout connect 30s
	timeout server 30s
frontend stars
	bind %s
	http-request return status 200 content-type text/plain file %s
`, addr, payload), 0o600))
	startServer(t, addr, "haproxy", "-db", "-f", file)
}
