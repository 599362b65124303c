package sockopt

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// originLabels tell the metrics of one origin from those of another: there are as
// many as there are listeners, transports and servers in the configurations that
// this process has run.
var originLabels = []string{"direction", "server", "address"}

func (o origin) labels() []string { return []string{string(o.direction), o.server, o.address} }

// registerMetrics adds the metrics to the registry of a configuration. They outlive
// it: the next one has another registry, and the same metrics.
func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
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
	stallsDesc      = desc("suspected_stalls_total", "Waits for a peer's next bytes that took as long as a delayed acknowledgement, where none was asked for.")
	unreachableDesc = desc("unreachable_connections_total", "Connections in which no TCP socket was found, so that they go without options.")
	errorsDesc      = desc("option_errors_total", "Options that a connection refused.", "option", "errno")
)

// metricPrefix is what the names of all metrics begin with.
const metricPrefix = "caddy_sockopt_"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+name, help, append(labels, originLabels...), nil)
}

// Describe implements prometheus.Collector.
func (countersCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connectionsDesc, acksDesc, stallsDesc, unreachableDesc, errorsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Origins that only their order tells
// apart are added up.
func (countersCollector) Collect(ch chan<- prometheus.Metric) {
	type errorLabels struct {
		option, errno string
		origin
	}
	sums, errs := make(map[origin]countersNow), make(map[errorLabels]uint64)
	allCounters.Lock()
	for o, c := range allCounters.of {
		o.nth = 0
		now, sum := c.now(), sums[o]
		sum.Connections += now.Connections
		sum.Acknowledged += now.Acknowledged
		sum.Unreachable += now.Unreachable
		sum.Stalled += now.Stalled
		sums[o] = sum
		for _, refused := range now.Refused {
			errs[errorLabels{refused.Option, refused.Errno, o}] += refused.Count
		}
	}
	allCounters.Unlock()
	counter := func(d *prometheus.Desc, value uint64, labels []string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	for o, sum := range sums {
		if o.direction == directionRoute {
			continue // its connections are those that a listener accepted
		}
		counter(connectionsDesc, sum.Connections, o.labels())
		counter(acksDesc, sum.Acknowledged, o.labels())
		counter(stallsDesc, sum.Stalled, o.labels())
		counter(unreachableDesc, sum.Unreachable, o.labels())
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

func metricsAtClose(o origin) *closeMetrics {
	labels := o.labels()
	return &closeMetrics{
		rttAtClose.WithLabelValues(labels...), minAtClose.WithLabelValues(labels...),
		retransmitted.WithLabelValues(labels...), acked.WithLabelValues(labels...), received.WithLabelValues(labels...),
		busy.WithLabelValues(labels...), rwndLimited.WithLabelValues(labels...), sndbufLimited.WithLabelValues(labels...),
	}
}

// add adds a connection. What this kernel does not tell is left out.
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
		case figure.Unit == socket.Microseconds:
			figure.add(float64(value) / 1e6)
		default:
			figure.add(float64(value))
		}
	}
}
