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
	sums   map[labelValues]*openSums
	walked time.Time
}

// openSums are those of the connections that have the same labels.
type openSums struct {
	connections int
	limited     map[Limit]int
	rtts        int
	rtt         float64
	buckets     map[float64]uint64
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
	for labels, s := range o.now() {
		ch <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(s.connections), labels[:]...)
		for _, limit := range Limits {
			ch <- prometheus.MustNewConstMetric(limitedDesc, prometheus.GaugeValue, float64(s.limited[limit]), append([]string{string(limit)}, labels[:]...)...)
		}
		ch <- prometheus.MustNewConstHistogram(openRTTDesc, uint64(s.rtts), s.rtt, s.buckets, labels[:]...) //nolint:gosec // a count
	}
}

// now returns the sums of a walk that is fresh enough.
func (o *openCollector) now() map[labelValues]*openSums {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.walked) < openFresh {
		return o.sums
	}
	wanted, sums := make(map[Origin]bool), make(map[labelValues]*openSums)
	registry.Lock()
	for origin, c := range registry.of {
		if c.configurations > 0 && c.metrics.Load() {
			wanted[origin] = true
			s := &openSums{limited: make(map[Limit]int), buckets: make(map[float64]uint64)}
			for _, bound := range rttBuckets {
				s.buckets[bound] = 0
			}
			sums[origin.labels()] = s
		}
	}
	registry.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), openFresh)
	defer cancel()
	open, err := MeasureOpen(ctx, func(origin Origin) bool { return wanted[origin] }, func(netip.Addr) bool { return true })
	if err != nil {
		return nil // another walk takes too long
	}
	for i := range open {
		sums[open[i].Origin.labels()].add(&open[i])
	}
	o.sums, o.walked = sums, time.Now()
	return sums
}

func (s *openSums) add(o *Open) {
	s.connections++
	s.limited[o.LimitedBy]++
	rtt, known := o.figure(socket.RTT)
	if !known {
		return
	}
	s.rtts++
	s.rtt += rtt
	for _, bound := range rttBuckets {
		if rtt <= bound {
			s.buckets[bound]++
		}
	}
}
