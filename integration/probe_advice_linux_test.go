package integration_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/probe"
)

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
			verdict := report.Verdict
			if test.want == probe.Nagle { // which segments of a new connection the server holds back is chance
				verdict = probe.Verdict(strings.TrimSuffix(string(verdict), string(" and "+probe.AfterHandshake)))
			}
			require.Equal(t, test.want, verdict)
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
