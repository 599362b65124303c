package stats

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// gathered returns the metrics where one option was refused by a connection of an origin.
func gathered(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	counters := Use(Origin{Direction: Accepted, Address: t.Name()})
	t.Cleanup(counters.Done)
	counters.refuse(refusalKey{socket.NoDelay.Name, "made up"})
	metricsAtClose(counters.origin)
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, Register(registry))
	require.NoError(t, Register(registry), "registered twice")
	families, err := registry.Gather()
	require.NoError(t, err)
	return families
}

// TestDashboardAsksForWhatIsThere checks the queries of the dashboard against the metrics.
func TestDashboardAsksForWhatIsThere(t *testing.T) {
	text, err := os.ReadFile("../../examples/grafana-dashboard.json")
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

	families := gathered(t)
	exported, asked := make(map[string]bool), make(map[string]bool)
	labels := map[string]bool{"le": true, "job": true, "instance": true} // Prometheus has the last two itself
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
