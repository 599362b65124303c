package stats

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// openFresh is how long a walk serves those who scrape.
const openFresh = 5 * time.Second

var (
	openDesc    = desc("open_connections", "Connections that are open now.", originLabels...)
	limitedDesc = desc("open_connections_limited", "Connections that are open now, by what keeps them from sending faster.",
		append([]string{"limited_by"}, originLabels...)...)
	openRTTDesc = desc("open_rtt_seconds", "Smoothed round-trip times of the connections that are open now.", originLabels...)
)

// openCollector shows the open connections of origins that have metrics.
type openCollector struct {
	mu     sync.Mutex
	open   []Open
	walked time.Time
}

var openConnections openCollector

// Describe implements prometheus.Collector.
func (*openCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- openDesc
	ch <- limitedDesc
	ch <- openRTTDesc
}

// Collect implements prometheus.Collector.
func (o *openCollector) Collect(ch chan<- prometheus.Metric) {
	type sums struct {
		connections int
		limited     map[Limit]int
		rtts        int
		rtt         float64
		buckets     map[float64]uint64
	}
	of := make(map[labelValues]*sums)
	for _, origin := range originsWithMetrics() {
		s := &sums{limited: make(map[Limit]int), buckets: make(map[float64]uint64)}
		for _, bound := range rttBuckets {
			s.buckets[bound] = 0
		}
		of[origin.labels()] = s
	}
	for _, one := range o.now() {
		s := of[one.Origin.labels()]
		if s == nil {
			continue // its configuration ended meanwhile
		}
		s.connections++
		s.limited[one.LimitedBy]++
		rtt, known := one.figure(socket.RTT)
		if !known {
			continue
		}
		s.rtts++
		s.rtt += rtt
		for _, bound := range rttBuckets {
			if rtt <= bound {
				s.buckets[bound]++
			}
		}
	}
	for labels, s := range of {
		ch <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(s.connections), labels[:]...)
		for _, limit := range Limits {
			ch <- prometheus.MustNewConstMetric(limitedDesc, prometheus.GaugeValue, float64(s.limited[limit]), append([]string{string(limit)}, labels[:]...)...)
		}
		ch <- prometheus.MustNewConstHistogram(openRTTDesc, uint64(s.rtts), s.rtt, s.buckets, labels[:]...) //nolint:gosec // a count
	}
}

// now returns the connections of a walk that is fresh enough.
func (o *openCollector) now() []Open {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.walked) < openFresh {
		return o.open
	}
	open, err := MeasureOpen(context.Background(), hasMetrics, func(netip.Addr) bool { return true })
	if err == nil {
		o.open, o.walked = open, time.Now()
	}
	return o.open
}

// originsWithMetrics returns the origins of running configurations that have metrics.
func originsWithMetrics() (origins []Origin) {
	registry.Lock()
	defer registry.Unlock()
	for o, c := range registry.of {
		if c.configurations > 0 && c.metrics.Load() {
			origins = append(origins, o)
		}
	}
	return origins
}

func hasMetrics(o Origin) bool {
	registry.Lock()
	defer registry.Unlock()
	c := registry.of[o]
	return c != nil && c.metrics.Load()
}
