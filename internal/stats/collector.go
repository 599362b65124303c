package stats

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// originLabels tell the metrics of one origin from those of another.
var originLabels = []string{"direction", "server", "address"}

func (o Origin) labels() []string { return []string{string(o.Direction), o.Server, o.Address} }

// Register adds the metrics to the registry of a configuration. They outlive it: the
// next configuration has another registry, and the same metrics.
func Register(registry *prometheus.Registry) error {
	for _, c := range append(closeCollectors(), countersCollector{}) {
		var registered prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &registered) {
			return err
		}
	}
	return nil
}

// countersCollector shows the counters as metrics.
type countersCollector struct{}

var (
	connectionsDesc = desc("connections_total", "Connections accepted from clients, or dialed to backends.")
	acksDesc        = desc("acknowledgements_total", "Acknowledgements that quickack auto or on asked the kernel for.")
	wastedDesc      = desc("wasted_acknowledgements_total", "Acknowledgements that were needless, because the next write would have carried them.")
	patientDesc     = desc("patient_connections_total", "Times that a connection stopped asking for acknowledgements, because they were needless.")
	stallsDesc      = desc("suspected_stalls_total", "Waits for a peer's next bytes that took as long as a delayed acknowledgement, where none was asked for.")
	unreachableDesc = desc("unreachable_connections_total", "Connections in which no TCP socket was found, so that they go without options.")
	errorsDesc      = desc("option_errors_total", "Options that a connection refused.", "option", "errno")
)

// What the kernel says of listening sockets.
var (
	queueDesc        = listeningDesc("accept_queue_connections", "Connections that wait for Accept now.")
	queueLimitDesc   = listeningDesc("accept_queue_limit", "How many connections may wait for Accept.")
	queueDroppedDesc = listeningDesc("dropped_connections_total", "Connections that the kernel dropped at listening sockets, mostly because too many waited for Accept.")
)

func listeningDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+name, help, []string{"server", "address"}, nil)
}

// metricPrefix is what the names of all metrics begin with.
const metricPrefix = "caddy_sockopt_"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+name, help, append(labels, originLabels...), nil)
}

// totals are the counters that have no labels but those of the origin.
var totals = []struct {
	*prometheus.Desc
	of func(CountersNow) uint64
}{
	{connectionsDesc, func(c CountersNow) uint64 { return c.Connections }},
	{acksDesc, func(c CountersNow) uint64 { return c.Acknowledged }},
	{wastedDesc, func(c CountersNow) uint64 { return c.Wasted }},
	{patientDesc, func(c CountersNow) uint64 { return c.Patient }},
	{stallsDesc, func(c CountersNow) uint64 { return c.Stalled }},
	{unreachableDesc, func(c CountersNow) uint64 { return c.Unreachable }},
}

// Describe implements prometheus.Collector.
func (countersCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, t := range totals {
		ch <- t.Desc
	}
	ch <- errorsDesc
	ch <- queueDesc
	ch <- queueLimitDesc
	ch <- queueDroppedDesc
}

// Collect implements prometheus.Collector. Origins that differ only in their number
// are added up.
func (countersCollector) Collect(ch chan<- prometheus.Metric) {
	type errorLabels struct {
		option, errno string
		Origin
	}
	sums, errs := make(map[Origin][]uint64), make(map[errorLabels]uint64)
	queues := make(map[Origin]*AcceptQueue)
	registry.Lock()
	dropUnused()
	for o, c := range registry.of {
		now := c.Now()
		c.scraped = true
		if q := c.AcceptQueue(); q != nil {
			queues[o] = q
		}
		o.Nth = 0
		for _, refused := range now.Refused {
			errs[errorLabels{refused.Option, refused.Errno, o}] += refused.Count
		}
		if o.Direction == Route {
			continue // a listener has accepted and counted its connections
		}
		sum, ok := sums[o]
		if !ok {
			sum = make([]uint64, len(totals))
			sums[o] = sum
		}
		for i, t := range totals {
			sum[i] += t.of(now)
		}
	}
	registry.Unlock()
	counter := func(d *prometheus.Desc, value uint64, labels []string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	for o, sum := range sums {
		for i, t := range totals {
			counter(t.Desc, sum[i], o.labels())
		}
	}
	for o, q := range queues {
		labels := []string{o.Server, o.Address}
		ch <- prometheus.MustNewConstMetric(queueDesc, prometheus.GaugeValue, float64(q.Connections), labels...)
		ch <- prometheus.MustNewConstMetric(queueLimitDesc, prometheus.GaugeValue, float64(q.Limit), labels...)
		counter(queueDroppedDesc, q.Dropped, labels)
	}
	for e, count := range errs {
		counter(errorsDesc, count, append([]string{e.option, e.errno}, e.labels()...))
	}
}

// What the kernel counted of connections, when they were closed.
var (
	rttAtClose = atClose("rtt_seconds", "Smoothed round-trip time of connections when they were closed.")
	minAtClose = atClose("min_rtt_seconds", "Smallest round-trip time of connections when they were closed.")

	retransmitted = total("retransmitted_segments_total", "Segments sent again, on connections that were closed.")
	acked         = total("acked_bytes_total", "Bytes that peers acknowledged, on connections that were closed.")
	received      = total("received_bytes_total", "Bytes that peers sent, on connections that were closed.")
	busy          = total("busy_seconds_total", "Time with something to send, on connections that were closed.")
	rwndLimited   = total("rwnd_limited_seconds_total", "Of the busy time, the time that the peer's receive window held it up.")
	sndbufLimited = total("sndbuf_limited_seconds_total", "Of the busy time, the time that the send buffer held it up.")
)

func closeCollectors() []prometheus.Collector {
	return []prometheus.Collector{rttAtClose, minAtClose, retransmitted, acked, received, busy, rwndLimited, sndbufLimited}
}

// rttBuckets are from a machine room to a satellite, in seconds.
var rttBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}

func atClose(name, help string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: metricPrefix + name, Help: help, Buckets: rttBuckets,
	}, originLabels)
}

func total(name, help string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, originLabels)
}

// closeMetrics are the metrics of one origin's connections when they are closed.
type closeMetrics struct {
	rtt, minRTT                                  prometheus.Observer
	retransmitted, acked, received               prometheus.Counter
	busyTime, rwndLimitedTime, sndbufLimitedTime prometheus.Counter
}

func metricsAtClose(o Origin) *closeMetrics {
	labels := o.labels()
	return &closeMetrics{
		rttAtClose.WithLabelValues(labels...), minAtClose.WithLabelValues(labels...),
		retransmitted.WithLabelValues(labels...), acked.WithLabelValues(labels...), received.WithLabelValues(labels...),
		busy.WithLabelValues(labels...), rwndLimited.WithLabelValues(labels...), sndbufLimited.WithLabelValues(labels...),
	}
}

// dropCloseMetrics drops the series of an origin.
func dropCloseMetrics(o Origin) {
	for _, c := range closeCollectors() {
		c.(interface{ DeleteLabelValues(...string) bool }).DeleteLabelValues(o.labels()...) //nolint:forcetypeassert // each is a vector
	}
}

// add adds a connection. It leaves out what this kernel does not report.
func (m *closeMetrics) add(info *socket.TCPInfo) {
	for _, figure := range []struct {
		socket.Figure
		add func(float64)
	}{
		{socket.RTT, m.rtt.Observe},
		{socket.MinRTT, m.minRTT.Observe},
		{socket.TotalRetrans, m.retransmitted.Add},
		{socket.BytesAcked, m.acked.Add},
		{socket.BytesReceived, m.received.Add},
		{socket.BusyTime, m.busyTime.Add},
		{socket.RwndLimited, m.rwndLimitedTime.Add},
		{socket.SndbufLimited, m.sndbufLimitedTime.Add},
	} {
		value, known := info.Value(figure.Figure)
		switch {
		case !known:
		case figure.Time:
			figure.add(float64(value) / 1e6)
		default:
			figure.add(float64(value))
		}
	}
}
