package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/probe"
)

// onPath is a Caddy at the near end of a path.
type onPath struct {
	plain, secure string // its addresses
	*lab.Running
}

// caddyOnPath starts a Caddy with listener wrappers and a site's directives.
func caddyOnPath(t testing.TB, p *lab.Path, lines, directives string) onPath {
	certificate, err := lab.NewCertificate(t.TempDir(), p.Near)
	require.NoError(t, err)
	c := onPath{plain: lab.HostPort(p.Near, lab.Port(t)), secure: lab.HostPort(p.Near, lab.Port(t))}
	global := ""
	if lines != "" {
		global = lab.Wrappers(lines)
	}
	c.Running = lab.Spawn(t, global, fmt.Sprintf("http://%s {\n%s\n}\nhttps://%s {\n%[2]s\ntls %[4]s %[4]s\n}", c.plain, directives, c.secure, certificate.File))
	return c
}

// judgedOver runs the command until the verdict is what it should be, and the path's round-trip
// time within 10 ms, twice more at most: a busy machine holds up packets as well.
func judgedOver(t testing.TB, p *lab.Path, rtt time.Duration, want probe.Verdict, url string, flags ...string) (report *probe.Report) {
	t.Helper()
	require.NoError(t, thrice(func() error {
		report = probedOver(t, p, url, flags...)
		if report.Verdict != want {
			return fmt.Errorf("%s instead of %s", report.Verdict, want)
		}
		if math.Abs(report.Path-rtt.Seconds()) > .01 {
			return fmt.Errorf("a path of %v is taken for one of %v s", rtt, report.Path)
		}
		return nil
	}))
	return report
}

// probedOver runs the command at the far end of a path.
func probedOver(t testing.TB, p *lab.Path, url string, flags ...string) *probe.Report {
	t.Helper()
	args := append([]string{"sockopt", "probe", "--json", "--insecure", "--requests", "10", url}, flags...)
	cmd, err := lab.CaddyCommand(t.Context(), t.TempDir(), nil, args...)
	require.NoError(t, err)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	p.Do(func() { err = cmd.Start() })
	require.NoError(t, err)
	err = cmd.Wait()
	report := new(probe.Report)
	require.NoError(t, json.Unmarshal(stdout.Bytes(), report), "%s", &stderr)
	require.Equal(t, exitStatusOf(report.Verdict), exitOf(t, err), "%s", &stderr)
	t.Logf("%s, path %.4fs: %s: %q %s", url, report.Path, report.Verdict, report.Evidence, report.Hidden)
	for _, e := range report.Experiments {
		t.Log(e.Number, e.Note, e.Seconds)
	}
	return report
}

// TestProbeBehindPath: a stall between a proxy and its backend shows over a short path, and
// over a longer one the verdict says that it cannot tell.
func TestProbeBehindPath(t *testing.T) {
	t.Parallel() // it waits most of the time
	for rtt, hidden := range map[time.Duration]bool{20 * time.Millisecond: false, 60 * time.Millisecond: true} {
		t.Run(rtt.String(), func(t *testing.T) {
			t.Parallel()
			p := lab.NewTestPath(t)
			p.Set(rtt, 0)
			proxy := caddyOnPath(t, p, "sockopt", "reverse_proxy "+withPaste()(t))
			want := probe.Behind
			if hidden {
				want = probe.NoStall
			}
			report := judgedOver(t, p, rtt, want, "http://"+proxy.plain)
			require.Equal(t, hidden, strings.Contains(report.Hidden, "cannot tell whether a backend behind this server stalls"))
		})
	}
}

// TestProbePath: the verdict does not depend on the path. The long form has every path,
// with and without loss.
func TestProbePath(t *testing.T) {
	t.Parallel() // it waits most of the time
	for _, cell := range []struct {
		rtt   int // milliseconds
		loss  float64
		short bool // in the short form, too, with loss over TLS alone
	}{
		{0, 0, false},
		{20, 0, false},
		{28, 0, false},
		{60, 0, true},
		{150, 0, false},
		{300, 0, false},
		{0, .01, false},
		{20, .01, false},
		{28, .01, true},
		{60, .01, false},
		{150, .01, false},
		{300, .01, false},
	} {
		if !cell.short && !lab.IsLong() {
			continue
		}
		t.Run(fmt.Sprintf("%d ms, loss %v", cell.rtt, cell.loss), func(t *testing.T) {
			t.Parallel()
			p, rtt := lab.NewTestPath(t), time.Duration(cell.rtt)*time.Millisecond
			p.Set(rtt, cell.loss)
			stock, cured := caddyOnPath(t, p, "", "echo_payload"), caddyOnPath(t, p, "sockopt", "echo_payload")
			var probes sync.WaitGroup // all at once, and not in turn with other tests
			defer probes.Wait()
			for _, protocol := range []struct {
				name, flag string
				secure     bool
				stock      probe.Verdict
			}{
				{"plain", "--http1", false, probe.DelayedAck},
				{"TLS", "--http1", true, probe.DelayedAck + " and " + probe.AfterHandshake},
				{"HTTP/2", "--http2", true, probe.DelayedAck},
			} {
				for i, c := range []onPath{stock, cured} {
					name, want := protocol.name+" stock", protocol.stock
					if i == 1 {
						name, want = protocol.name+" cured", probe.NoStall
					}
					url := "http://" + c.plain
					if protocol.secure {
						url = "https://" + c.secure
					}
					if cell.loss > 0 && protocol.name != "TLS" && !lab.IsLong() {
						continue
					}
					probes.Go(func() {
						t.Run(name, func(t *testing.T) {
							judgedOver(t, p, rtt, want, url, protocol.flag)
						})
					})
				}
			}
		})
	}
}
