package sockopt

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
)

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

// TestMetricsOnlyWhereNamed: no TCP_INFO at close without.
func TestMetricsOnlyWhereNamed(t *testing.T) {
	w, _ := provisioned(t, Options{})
	require.False(t, w.settings.metrics)
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	require.NoError(t, registerMetrics(ctx))
	require.NoError(t, registerMetrics(ctx), "registered twice")
}
