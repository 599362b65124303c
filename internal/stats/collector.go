package stats

import (
	"errors"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// metricPrefix is what the names of all metrics begin with.
const metricPrefix = "caddy_sockopt_"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+name, help, labels, nil)
}

// originLabels tell the metrics of one origin from those of another.
var originLabels = []string{"direction", "server", "address", "upstream", "quickack"}

// labels are equal for origins that differ in their number alone.
func (o Origin) labels() labelValues {
	return labelValues{string(o.Direction), o.Server, o.Address, o.Upstream, o.QuickAck}
}

// labelValues are those of originLabels.
type labelValues = [5]string

// Register adds the metrics to the registry of a configuration. They outlive it: the
// next configuration has another registry, and the same metrics.
func Register(registry *prometheus.Registry) error {
	for _, m := range closeMetrics {
		if err := register(registry, m.vector); err != nil {
			return err
		}
	}
	if err := register(registry, &openConnections); err != nil {
		return err
	}
	return register(registry, countersCollector{})
}

// register adds a collector, unless another module has added it.
func register(registry *prometheus.Registry, c prometheus.Collector) error {
	var registered prometheus.AlreadyRegisteredError
	if err := registry.Register(c); err != nil && !errors.As(err, &registered) {
		return err
	}
	return nil
}

// countersCollector shows the counters as metrics.
type countersCollector struct{}

var errorsDesc = desc("option_errors_total", "Options that a connection refused.", append([]string{"option", "errno"}, originLabels...)...)

// queueMetrics are what the kernel says of listening sockets, one a row.
var queueMetrics = []struct {
	*prometheus.Desc
	prometheus.ValueType
	of func(*AcceptQueue) (value float64, known bool)
}{
	{queueDesc("accept_queue_connections", "Connections that wait for Accept now."), prometheus.GaugeValue, func(q *AcceptQueue) (float64, bool) { return float64(q.Connections), true }},
	{queueDesc("accept_queue_limit", "How many connections may wait for Accept."), prometheus.GaugeValue, func(q *AcceptQueue) (float64, bool) { return float64(q.Limit), true }},
	{queueDesc("dropped_connections_total", "Connections that the kernel dropped at listening sockets, mostly because too many waited for Accept."), prometheus.CounterValue, func(q *AcceptQueue) (float64, bool) {
		if q.Dropped == nil {
			return 0, false
		}
		return float64(*q.Dropped), true
	}},
}

func queueDesc(name, help string) *prometheus.Desc { return desc(name, help, "server", "address") }

// Describe implements prometheus.Collector.
func (countersCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range counters {
		ch <- c.desc
	}
	for _, m := range queueMetrics {
		ch <- m.Desc
	}
	ch <- errorsDesc
}

// Collect implements prometheus.Collector. Origins that differ only in their number
// are added up.
func (countersCollector) Collect(ch chan<- prometheus.Metric) {
	type refused struct {
		option, errno string
		labelValues
	}
	sums, errs := make(map[labelValues][]uint64), make(map[refused]uint64)
	registry.Lock()
	dropUnused()
	for _, c := range registry.unused {
		c.scraped = true
	}
	all := slices.Collect(maps.Values(registry.of))
	registry.Unlock()
	var drops socket.Drops
	for _, c := range all {
		o, labels := c.origin, c.origin.labels()
		if q := c.AcceptQueue(&drops); q != nil {
			for _, m := range queueMetrics {
				if value, known := m.of(q); known {
					ch <- prometheus.MustNewConstMetric(m.Desc, m.ValueType, value, o.Server, o.Address)
				}
			}
		}
		for _, r := range c.Refusals() {
			errs[refused{r.Option, r.Errno, labels}] += r.Count
		}
		if o.Direction == Route {
			continue // a listener has accepted and counted its connections
		}
		if sums[labels] == nil {
			sums[labels] = make([]uint64, len(counters))
		}
		for i, counter := range counters {
			sums[labels][i] += counter.Of(c)
		}
	}
	for labels, sum := range sums {
		for i, counter := range counters {
			ch <- prometheus.MustNewConstMetric(counter.desc, prometheus.CounterValue, float64(sum[i]), labels[:]...)
		}
	}
	for r, count := range errs {
		labels := append([]string{r.option, r.errno}, r.labelValues[:]...)
		ch <- prometheus.MustNewConstMetric(errorsDesc, prometheus.CounterValue, float64(count), labels...)
	}
}

// closeMetrics are what the kernel counted of connections when they were closed, one a
// row.
var closeMetrics = []closeMetric{
	histogram(socket.RTT, "rtt_seconds", "Smoothed round-trip time of connections when they were closed."),
	histogram(socket.MinRTT, "min_rtt_seconds", "Smallest round-trip time of connections when they were closed."),
	total(socket.TotalRetrans, "retransmitted_segments_total", "Segments sent again, on connections that were closed."),
	total(socket.BytesAcked, "acked_bytes_total", "Bytes that peers acknowledged, on connections that were closed."),
	total(socket.BytesReceived, "received_bytes_total", "Bytes that peers sent, on connections that were closed."),
	total(socket.BusyTime, "busy_seconds_total", "Time with something to send, on connections that were closed."),
	total(socket.RwndLimited, "rwnd_limited_seconds_total", "Of the busy time, the time that the peer's receive window held it up."),
	total(socket.SndbufLimited, "sndbuf_limited_seconds_total", "Of the busy time, the time that the send buffer held it up."),
}

// closeMetric adds up a figure over the connections that were closed.
type closeMetric struct {
	vector
	figure socket.Figure
	of     func(labels ...string) (add func(float64)) // the series of an origin
}

type vector interface {
	prometheus.Collector
	DeleteLabelValues(labels ...string) bool
	Reset()
}

// rttBuckets are from a machine room to a satellite, in seconds.
var rttBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}

func histogram(f socket.Figure, name, help string) closeMetric {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: metricPrefix + name, Help: help, Buckets: rttBuckets}, originLabels)
	return closeMetric{v, f, func(labels ...string) func(float64) { return v.WithLabelValues(labels...).Observe }}
}

func total(f socket.Figure, name, help string) closeMetric {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, originLabels)
	return closeMetric{v, f, func(labels ...string) func(float64) { return v.WithLabelValues(labels...).Add }}
}
