package stats

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// inNewRegistry gives the test a registry of its own until it ends, and returns an
// origin that no other test has.
func inNewRegistry(t *testing.T) Origin {
	t.Helper()
	registry.Lock()
	defer registry.Unlock()
	of, equal, unused := registry.of, registry.equal, registry.unused
	registry.of, registry.equal, registry.unused = make(map[Origin]*Counters), make(map[labelValues]int), nil
	walked = time.Time{}
	recent.Lock()
	recent.until = time.Time{}
	recent.Unlock()
	t.Cleanup(func() {
		registry.Lock()
		defer registry.Unlock()
		registry.of, registry.equal, registry.unused = of, equal, unused
		for _, m := range closeMetrics {
			m.Reset()
		}
	})
	return Origin{Direction: Dialed, Server: "srv0", Address: t.Name()}
}

// series is the name of a metric with the labels of an origin, and others before them.
func series(name string, o Origin, labels ...string) string {
	return metricPrefix + name + " " + strings.Join(append(labels, string(o.Direction), o.Server, o.Address, o.Upstream, o.QuickAck), " ")
}

// gather returns what a scrape reads, by series: the count of a histogram.
func gather(t *testing.T) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, Register(r))
	families, err := r.Gather()
	require.NoError(t, err)
	values := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := make(map[string]string)
			for _, label := range m.GetLabel() {
				labels[label.GetName()] = label.GetValue()
			}
			var before []string
			if option, ok := labels["option"]; ok {
				before = []string{option, labels["errno"]}
			}
			name := strings.TrimPrefix(family.GetName(), metricPrefix)
			key := series(name, Origin{
				Direction: Direction(labels["direction"]), Server: labels["server"], Address: labels["address"],
				Upstream: labels["upstream"], QuickAck: labels["quickack"],
			}, before...)
			values[key] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

// isKept reports whether the registry has an origin.
func isKept(o Origin) bool {
	registry.Lock()
	defer registry.Unlock()
	return registry.of[o] != nil
}

// closes returns the row of closeMetrics with a figure.
func closes(f socket.Figure) int {
	for i, m := range closeMetrics {
		if m.figure == f {
			return i
		}
	}
	return -1
}

// TestCountersSurviveAReload: the next configuration has the same counters, whether it
// begins before the other ends or after.
func TestCountersSurviveAReload(t *testing.T) {
	origin := inNewRegistry(t)
	first := For(origin)
	Connections.add(first)
	require.Same(t, first, For(origin))
	first.Done()
	for range 3 {
		require.Contains(t, gather(t), series("connections_total", origin), "while a configuration has the origin")
	}
	first.Done()
	require.Same(t, first, For(origin))
	require.InDelta(t, 1, gather(t)[series("connections_total", origin)], 0)
}

// TestUnusedCountersAreScrapedOnce: a scrape reads the last values of an origin that no
// configuration has, and the next one does not. The origin starts again at zero.
func TestUnusedCountersAreScrapedOnce(t *testing.T) {
	origin := inNewRegistry(t)
	connections := series("connections_total", origin)
	c := For(origin)
	Connections.add(c)
	Connections.add(c)
	require.InDelta(t, 2, gather(t)[connections], 0)
	Connections.add(c)
	c.Done()
	require.InDelta(t, 3, gather(t)[connections], 0)
	require.NotContains(t, gather(t), connections)
	require.Zero(t, Connections.Of(For(origin)))
	require.Contains(t, gather(t), connections)
}

// TestUnusedCountersAreBounded: without a scrape the latest of many stay.
func TestUnusedCountersAreBounded(t *testing.T) {
	origin := inNewRegistry(t)
	nth := func(n int) Origin {
		o := origin
		o.Address = fmt.Sprint(n)
		return o
	}
	For(origin)
	const more = 5
	for n := range mostUnused + more {
		For(nth(n)).Done()
	}
	for n := range mostUnused + more {
		require.Equal(t, n >= more, isKept(nth(n)), n)
	}
	For(nth(more))
	For(nth(-1)).Done()
	require.True(t, isKept(nth(more)), "it is in use again")
	require.True(t, isKept(nth(more+1)))
	For(nth(-2)).Done()
	require.False(t, isKept(nth(more+1)), "it is the oldest")
	require.True(t, isKept(origin), "it is in use")
}

// TestOriginsThatDifferInNumberAreOneSeries: their counts are added up.
func TestOriginsThatDifferInNumberAreOneSeries(t *testing.T) {
	origin := inNewRegistry(t)
	for nth, connections := range []int{2, 3} {
		o := origin
		o.Nth = nth
		c := For(o)
		for range connections {
			Connections.add(c)
		}
		c.refuse(refusalKey{socket.TTL.Name, "EINVAL"})
	}
	shown := gather(t)
	require.InDelta(t, 5, shown[series("connections_total", origin)], 0)
	require.InDelta(t, 2, shown[series("option_errors_total", origin, "ttl", "EINVAL")], 0)
}

// TestRoutesHaveNoConnections: a listener has counted them. What they refuse is shown.
func TestRoutesHaveNoConnections(t *testing.T) {
	origin := inNewRegistry(t)
	origin.Direction = Route
	For(origin).refuse(refusalKey{socket.Cork.Name, "EPERM"})
	shown := gather(t)
	require.NotContains(t, shown, series("connections_total", origin))
	require.InDelta(t, 1, shown[series("option_errors_total", origin, "cork", "EPERM")], 0)
}

// TestCloseMetricsGoWithTheOrigin: with the last one that has the same labels.
func TestCloseMetricsGoWithTheOrigin(t *testing.T) {
	origin := inNewRegistry(t)
	other := origin
	other.Nth = 1
	first, second := For(origin), For(other)
	for _, c := range []*Counters{first, second} {
		NewObserver(c, zap.NewNop(), true).atClose[closes(socket.BytesAcked)](1)
	}
	acked := series("acked_bytes_total", origin)
	first.Done()
	gather(t)
	require.InDelta(t, 2, gather(t)[acked], 0)
	second.Done()
	gather(t)
	gather(t) // drops them, and has perhaps read the series before that
	require.NotContains(t, gather(t), acked)
}

// TestMetricsOfAnotherUse: a configuration that ends takes no metrics from one that has them.
func TestMetricsOfAnotherUse(t *testing.T) {
	origin := inNewRegistry(t)
	with := NewObserver(For(origin), zap.NewNop(), true)
	NewObserver(For(origin), zap.NewNop(), false).Done()
	require.EqualValues(t, 1, with.metrics.Load())
	with.Done()
	require.Zero(t, with.metrics.Load())
}

// TestCountersKeepTheirBeginning: what is read anew at each scrape was not created then.
func TestCountersKeepTheirBeginning(t *testing.T) {
	c := For(inNewRegistry(t))
	c.refuse(refusalKey{socket.TTL.Name, "EINVAL"})
	NewObserver(c, zap.NewNop(), true).atClose[closes(socket.BytesAcked)](1)
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, Register(r))
	require.NoError(t, RegisterDatagrams(r, func() []Datagrams { return []Datagrams{{Dropped: 1}} }))
	created := func() map[string]string {
		families, err := r.Gather()
		require.NoError(t, err)
		all := make(map[string]string)
		for _, family := range families {
			if counter := family.GetMetric()[0].GetCounter(); counter != nil {
				all[family.GetName()] = counter.GetCreatedTimestamp().String()
			}
		}
		return all
	}
	first := created()
	for _, name := range []string{"connections_total", "option_errors_total", "dropped_datagrams_total", "acked_bytes_total"} {
		require.Contains(t, first, metricPrefix+name)
	}
	require.Equal(t, first, created())
}

// TestMetricsAreWellNamed holds the metrics to Prometheus's conventions.
func TestMetricsAreWellNamed(t *testing.T) {
	c := For(inNewRegistry(t))
	c.refuse(refusalKey{socket.TTL.Name, "EINVAL"})
	NewObserver(c, zap.NewNop(), true).atClose[closes(socket.RTT)](1)
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, Register(r))
	require.NoError(t, Register(r), "a configuration registers for each of its modules")
	families, err := r.Gather()
	require.NoError(t, err)
	require.Len(t, families, len(counters)+1+len(closeMetrics)+3) // option errors, and those of open connections
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}
