package sockopt

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
)

// metric returns the value of a metric in what Prometheus would scrape, and whether
// it is there.
func (c *running) metric(name, labels string) (value float64, ok bool) {
	c.t.Helper()
	_, text := c.api(http.MethodGet, "/metrics", "", "")
	for line := range strings.Lines(text) {
		series, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(series, metricPrefix+name+"{") && strings.Contains(series, labels) {
			_, err := fmt.Sscan(number, &value)
			require.NoError(c.t, err)
			return value, true
		}
	}
	return 0, false
}

// listenerLabel is what the metrics of a site have for an address: Caddy listens
// on its port alone.
func listenerLabel(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return fmt.Sprintf(`address="[::]:%s",direction="accepted"`, port)
}

// TestMetricsSurviveReloads scrapes before and after twenty of them.
func TestMetricsSurviveReloads(t *testing.T) {
	g := newGate(t)
	addr := address(t)
	global := wrappers("sockopt {\nmetrics\nraw 6 18 30000\n}")
	sites := fmt.Sprintf(`http://%s {
		sockopt /paced {
			pacing_rate 1GiB
		}
		reverse_proxy %s {
			transport sockopt {
				socket {
					metrics
				}
			}
		}
	}`, addr, g.Listener.Addr())
	c := run(t, global, sites)
	const requests = 3
	ask := func() {
		for range requests {
			client, _ := singleClient(t, false)
			getStars(t, client, "http://"+addr+"/paced")
			client.CloseIdleConnections()
		}
	}
	listener := listenerLabel(t, addr)
	counts := func(name, labels string, want float64) {
		t.Helper()
		require.Eventually(t, func() bool {
			got, ok := c.metric(name, labels)
			return ok && got == want
		}, patience, 10*time.Millisecond, "%s %s is not %v", name, labels, want)
	}
	ask()
	counts("connections_total", listener, requests)
	counts("rtt_seconds_count", listener, requests)
	counts("min_rtt_seconds_count", listener, requests)
	for load := range 20 {
		configuration := config(c.dir, c.admin, global, sites+fmt.Sprintf("\n# %d\n", load))
		status, answer := c.load("text/caddyfile", strings.Replace(configuration, "metrics\nraw", fmt.Sprintf("metrics\nuser_timeout %ds\nraw", load+1), 1))
		require.Equal(t, http.StatusOK, status, answer)
	}
	counts("connections_total", listener, requests)
	counts("rtt_seconds_count", listener, requests)
	require.Eventually(t, func() bool {
		return get(t.Context(), http.DefaultClient, "http://"+addr) == nil
	}, patience, time.Millisecond)
	http.DefaultClient.CloseIdleConnections()
	before, _ := c.metric("connections_total", listener)
	ask()
	counts("connections_total", listener, before+requests)
	counts("rtt_seconds_count", listener, before+requests)

	sent, ok := c.metric("acked_bytes_total", listener)
	require.True(t, ok)
	require.GreaterOrEqual(t, sent, float64(2*requests*len(stars)))
	for _, name := range []string{
		"acknowledgements_total", "suspected_stalls_total", "unreachable_connections_total", "received_bytes_total",
		"retransmitted_segments_total", "busy_seconds_total", "rwnd_limited_seconds_total", "sndbuf_limited_seconds_total",
	} {
		_, ok := c.metric(name, listener)
		require.True(t, ok, name)
	}
	dialed, ok := c.metric("connections_total", fmt.Sprintf(`address="%s",direction="dialed",server="srv0"`, g.Listener.Addr()))
	require.True(t, ok)
	require.Positive(t, dialed)
}

// TestMetricsCountRefusals: an option's errors, by its name and the kernel's.
func TestMetricsCountRefusals(t *testing.T) {
	o := origin{directionAccepted, "", "192.0.2.1:80", 0}
	countersOf(o).refuse(refusalKey{rows[0].option.Name, "made up"})
	t.Cleanup(func() {
		allCounters.Lock()
		defer allCounters.Unlock()
		delete(allCounters.of, o)
	})
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(countersCollector{}))
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != metricPrefix+"option_errors_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			if strings.Contains(m.String(), o.address) {
				require.Contains(t, m.String(), `value:"nodelay"`)
				require.InDelta(t, 1, m.GetCounter().GetValue(), 0)
				return
			}
		}
	}
	t.Fatal("not there")
}

// TestDashboardAsksForWhatIsThere checks the queries of the dashboard against the
// metrics.
func TestDashboardAsksForWhatIsThere(t *testing.T) {
	text, err := os.ReadFile("examples/grafana-dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	require.NotEmpty(t, dashboard.Panels)

	registry := prometheus.NewPedanticRegistry()
	for _, c := range append(closeCollectors(), countersCollector{}) {
		require.NoError(t, registry.Register(c))
	}
	o := origin{directionAccepted, "", "192.0.2.2:80", 0}
	countersOf(o).refuse(refusalKey{rows[0].option.Name, "made up"})
	metricsAtClose(o)
	t.Cleanup(func() {
		allCounters.Lock()
		defer allCounters.Unlock()
		delete(allCounters.of, o)
	})
	families, err := registry.Gather()
	require.NoError(t, err)
	exported, asked := make(map[string]bool), make(map[string]bool)
	labels := map[string]bool{"le": true}
	for _, family := range families {
		name := family.GetName()
		exported[name] = true
		if strings.HasSuffix(family.GetType().String(), "HISTOGRAM") {
			delete(exported, name)
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				exported[name+suffix] = true
			}
		}
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels[label.GetName()] = true
		}
	}
	metricName := regexp.MustCompile(metricPrefix + `\w+`)
	labelName := regexp.MustCompile(`(?:by|without) \(([^)]*)\)|(\w+)=~?"`)
	for _, panel := range dashboard.Panels {
		require.NotEmpty(t, panel.Targets, panel.Title)
		for _, target := range panel.Targets {
			names := metricName.FindAllString(target.Expr, -1)
			require.NotEmpty(t, names, target.Expr)
			for _, name := range names {
				require.True(t, exported[name], "%s: %s is not exported", panel.Title, name)
				asked[strings.NewReplacer("_bucket", "", "_sum", "", "_count", "").Replace(name)] = true
			}
			for _, match := range labelName.FindAllStringSubmatch(target.Expr, -1) {
				for label := range strings.SplitSeq(match[1]+match[2], ",") {
					require.True(t, labels[strings.TrimSpace(label)], "%s: no label %q", panel.Title, label)
				}
			}
			require.Equal(t, strings.Count(target.Expr, "("), strings.Count(target.Expr, ")"), target.Expr)
		}
	}
	for _, family := range families {
		require.True(t, asked[family.GetName()], "%s is on no panel", family.GetName())
	}
}

// TestStallsAreCounted: each of a Nagle client where nothing prevents them, and
// none otherwise.
func TestStallsAreCounted(t *testing.T) {
	const warmUp, requests = 20, 25
	off := wrapping{"off", "sockopt {\nquickack off\n}"}
	slow := newGate(t)
	slowly := slow.Config.Handler
	slow.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// As long as a delayed acknowledgement.
		timer := time.NewTimer(100 * time.Millisecond)
		<-timer.C
		slowly.ServeHTTP(w, r)
	})
	for _, test := range []struct {
		name     string
		wrapping wrapping
		protocol protocol
		handler  string
		pieces   bool
		pause    time.Duration // between requests, of a client that is idle
		stalls   bool
	}{
		{name: "off", wrapping: off, protocol: protocolPlain, handler: "echo_payload", pieces: true, stalls: true},
		{name: "off, TLS", wrapping: off, protocol: protocolTLS, handler: "echo_payload", pieces: true, stalls: true},
		{name: "auto", wrapping: wrapAuto, protocol: protocolPlain, handler: "echo_payload", pieces: true},
		{name: "on", wrapping: wrapOn, protocol: protocolPlain, handler: "echo_payload", pieces: true},
		{name: "off, idle", wrapping: off, protocol: protocolPlain, handler: "echo_payload", pause: 60 * time.Millisecond},
		{name: "off, idle, TLS", wrapping: off, protocol: protocolTLS, handler: "echo_payload", pause: 60 * time.Millisecond},
		{name: "off, slow handler", wrapping: off, protocol: protocolPlain, handler: "reverse_proxy " + slow.Listener.Addr().String()},
		{name: "off, slow handler, TLS", wrapping: off, protocol: protocolTLS, handler: "reverse_proxy " + slow.Listener.Addr().String()},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l lineup
			server := l.add(t, test.wrapping, test.protocol, test.handler)
			c := l.spawn(t)
			client := server.dialNagle(t)
			send := client.send
			if test.pieces {
				send = client.sendInPieces
			}
			for range warmUp {
				client.ask(t, send)
			}
			labels := listenerLabel(t, server.addr)
			before, ok := c.metric("suspected_stalls_total", labels)
			require.True(t, ok)
			for range requests {
				client.ask(t, send)
				<-time.After(test.pause)
			}
			after, _ := c.metric("suspected_stalls_total", labels)
			t.Logf("%v stalls in %d requests", after-before, requests)
			if !test.stalls {
				require.Zero(t, after-before)
				// Over TLS the first request does stall: Nagle's algorithm holds it
				// back until the end of the handshake is acknowledged.
				if test.wrapping != off || test.protocol != protocolTLS {
					require.NotContains(t, c.log(), "suspected stall")
				}
				return
			}
			// A busy machine makes some wait for longer than a timer.
			require.InDelta(t, requests, after-before, requests/5)
			require.Contains(t, c.log(), "suspected stall")
		})
	}
}

// TestMetricsOnlyWhereNamed: no TCP_INFO at close without.
func TestMetricsOnlyWhereNamed(t *testing.T) {
	w, _ := provisioned(t, Options{})
	require.False(t, w.settings.metrics)
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	require.NoError(t, registerMetrics(ctx))
	require.NoError(t, registerMetrics(ctx), "registered twice")
}
