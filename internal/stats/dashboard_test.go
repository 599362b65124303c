package stats

import (
	"encoding/json"
	"net"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestDashboardAsksForWhatIsThere checks the queries of the dashboard against the
// metrics.
func TestDashboardAsksForWhatIsThere(t *testing.T) {
	text, err := os.ReadFile("../../examples/grafana-dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr   string `json:"expr"`
				Legend string `json:"legendFormat"`
			} `json:"targets"`
		} `json:"panels"`
		Templating struct {
			List []struct {
				Name string `json:"name"`
			} `json:"list"`
		} `json:"templating"`
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	require.NotEmpty(t, dashboard.Panels)
	var variables []string
	for _, variable := range dashboard.Templating.List {
		variables = append(variables, variable.Name)
	}
	require.Subset(t, variables, []string{"job", "instance"})

	if runtime.GOOS != "linux" {
		t.Skip("elsewhere there are no figures of listening sockets")
	}
	c := For(inNewRegistry(t))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	defer c.Listens(ln.(*net.TCPListener))()
	c.refuse(refusalKey{socket.TTL.Name, "EINVAL"})
	NewObserver(c, zap.NewNop(), true)
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, Register(r))
	require.NoError(t, RegisterDatagrams(r, func() []Datagrams { return []Datagrams{{Server: "srv0", Address: "[::]:443"}} }))
	require.NoError(t, RegisterFound(r, func() []Found { return []Found{{Name: "uncovered", Server: "srv0", Address: "[::]:443"}} }))
	families, err := r.Gather()
	require.NoError(t, err)
	exported, asked := make(map[string]bool), make(map[string]bool)
	labels := map[string]bool{"le": true, "job": true, "instance": true} // of Prometheus
	for _, family := range families {
		name := family.GetName()
		exported[name] = true
		if kind := family.GetType().String(); kind == "HISTOGRAM" || kind == "SUMMARY" {
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
			require.Equal(t, len(names), strings.Count(target.Expr, `{job=~"$job", instance=~"$instance"}`), target.Expr)
			require.Contains(t, target.Legend, "{{instance}}", panel.Title)
			require.Contains(t, target.Legend, "{{server}}", panel.Title)
		}
	}
	for _, family := range families {
		require.True(t, asked[family.GetName()], "%s is on no panel", family.GetName())
	}
}
