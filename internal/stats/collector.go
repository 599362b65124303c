package stats

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// metricPrefix is what the names of all metrics begin with.
const metricPrefix = "caddy_sockopt_"

// originLabels tell the metrics of one origin from those of another.
var originLabels = []string{"direction", "server", "address", "upstream", "quickack"}

// labels are equal for origins that differ in their number alone.
func (o Origin) labels() labelValues {
	return labelValues{string(o.Direction), o.Server, o.Address, o.Upstream, o.QuickAck}
}

// labelValues are those of originLabels.
type labelValues = [5]string

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, labels)
}

func total(name, help string) *prometheus.CounterVec { return counterVec(name, help, originLabels...) }

func gaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: metricPrefix + name, Help: help}, labels)
}

// rttBuckets are from a machine room to a satellite, in seconds.
var rttBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}

func rttVec(name, help string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: metricPrefix + name, Help: help, Buckets: rttBuckets}, originLabels)
}

// Register adds the metrics to the registry of a configuration. They outlive it: the
// next configuration has another registry, and the same metrics.
func Register(registry *prometheus.Registry) error {
	err := errors.Join(register(registry, openConnections), register(registry, allCounters))
	for _, m := range closeMetrics {
		err = errors.Join(err, register(registry, m.vector))
	}
	return err
}

// register adds a collector, unless another module has added it.
func register(registry *prometheus.Registry, c prometheus.Collector) error {
	var registered prometheus.AlreadyRegisteredError
	if err := registry.Register(c); err != nil && !errors.As(err, &registered) {
		return err
	}
	return nil
}

type vector interface {
	prometheus.Collector
	DeleteLabelValues(labels ...string) bool
	Reset()
}

// filled is a collector of vectors that are filled when somebody scrapes.
type filled struct {
	sync.Mutex
	vectors []vector
	fill    func(*filled)
}

// Describe implements prometheus.Collector.
func (f *filled) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range f.vectors {
		v.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (f *filled) Collect(ch chan<- prometheus.Metric) {
	f.Lock()
	defer f.Unlock()
	f.fill(f)
	metrics := make(chan prometheus.Metric)
	go func() {
		defer close(metrics)
		for _, v := range f.vectors {
			v.Collect(metrics)
		}
	}()
	for m := range metrics {
		ch <- undated{m}
	}
}

// undated is a counter that does not say when it was created: filled it anew, a vector would say that it was just now.
type undated struct{ prometheus.Metric }

// Write implements prometheus.Metric.
func (u undated) Write(to *dto.Metric) error {
	err := u.Metric.Write(to)
	if to.Counter != nil {
		to.Counter.CreatedTimestamp = nil
	}
	return err
}

func (f *filled) reset() {
	for _, v := range f.vectors {
		v.Reset()
	}
}

var (
	optionErrors = counterVec("option_errors_total", "Options that a connection refused.", append([]string{"option", "errno"}, originLabels...)...)
	queued       = gaugeVec("accept_queue_connections", "Connections that wait for Accept now.", "server", "address")
	queueLimit   = gaugeVec("accept_queue_limit", "How many connections may wait for Accept.", "server", "address")
	dropped      = counterVec("dropped_connections_total", "Connections that the kernel dropped at listening sockets, mostly because too many waited for Accept.", "server", "address")

	allCounters = &filled{vectors: []vector{optionErrors, queued, queueLimit, dropped}, fill: fillCounters}
)

// fillCounters shows the counters as metrics. Origins that differ only in their number are added up.
func fillCounters(f *filled) {
	f.reset()
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
			queued.WithLabelValues(o.Server, o.Address).Add(float64(q.Connections))
			queueLimit.WithLabelValues(o.Server, o.Address).Add(float64(q.Limit))
			if q.Dropped != nil {
				dropped.WithLabelValues(o.Server, o.Address).Add(float64(*q.Dropped))
			}
		}
		for _, r := range c.Refusals() {
			optionErrors.WithLabelValues(append([]string{r.Option, r.Errno}, labels[:]...)...).Add(float64(r.Count))
		}
		if o.Direction == Route {
			continue // a listener has accepted and counted its connections
		}
		for _, counter := range counters {
			counter.metric.WithLabelValues(labels[:]...).Add(float64(counter.Of(c)))
		}
	}
}

// closeMetric adds up a figure of connections when they were closed.
type closeMetric struct {
	vector
	figure socket.Figure
}

// closeMetrics are all of them, a figure a row.
var closeMetrics = append([]closeMetric{
	{rttVec("rtt_seconds", "Smoothed round-trip time of connections when they were closed."), socket.RTT},
	{rttVec("min_rtt_seconds", "Smallest round-trip time of connections when they were closed."), socket.MinRTT},
	{rttVec("connect_seconds", "Time from the SYN until a connection to a backend was open, of those that were closed."), socket.ConnectTime},
	{total("retransmitted_segments_total", "Segments sent again, on connections that were closed."), socket.TotalRetrans},
	{total("acked_bytes_total", "Bytes that peers acknowledged, on connections that were closed."), socket.BytesAcked},
	{total("received_bytes_total", "Bytes that peers sent, on connections that were closed."), socket.BytesReceived},
	{total("busy_seconds_total", "Time with something to send, on connections that were closed."), socket.BusyTime},
	{total("rwnd_limited_seconds_total", "Of the busy time, the time that the peer's receive window held it up."), socket.RwndLimited},
	{total("sndbuf_limited_seconds_total", "Of the busy time, the time that the send buffer held it up."), socket.SndbufLimited},
}, ofPath()...)

// ofPath are a row for each path figure: a total of what ECN counts, and of the others a sum and how
// many connections, which give their mean.
func ofPath() (all []closeMetric) {
	for _, f := range socket.PathFigures {
		unit := map[socket.Unit]string{socket.Segments: "_segments", socket.Bytes: "_bytes", socket.Microseconds: "_seconds"}[f.Unit]
		name, help := strings.TrimSuffix(f.Name, unit)+unit, "tcpi_"+f.Name+" of connections when they were closed."
		if strings.HasPrefix(f.Name, "delivered_") || strings.HasPrefix(f.Name, "received_") {
			all = append(all, closeMetric{total(name+"_total", help), f})
			continue
		}
		all = append(all, closeMetric{prometheus.NewSummaryVec(prometheus.SummaryOpts{Name: metricPrefix + name, Help: help}, originLabels), f})
	}
	return all
}

// adders are those of closeMetrics for one origin.
func adders(labels labelValues) (add []func(float64)) {
	for _, m := range closeMetrics {
		switch v := m.vector.(type) {
		case prometheus.ObserverVec:
			add = append(add, v.WithLabelValues(labels[:]...).Observe)
		case *prometheus.CounterVec:
			add = append(add, v.WithLabelValues(labels[:]...).Add)
		}
	}
	return add
}

// Datagrams is what the kernel has dropped at one UDP socket of HTTP/3.
type Datagrams struct {
	Server  string `json:"server"`
	Address string `json:"address"`
	Dropped uint32 `json:"dropped_datagrams"` // since the socket exists
}

// RegisterDatagrams adds the metric of UDP sockets to the registry of a configuration.
// now returns the sockets that are open. Those of equal labels are added up.
func RegisterDatagrams(registry *prometheus.Registry, now func() []Datagrams) error {
	dropped := counterVec("dropped_datagrams_total", "Datagrams that the kernel dropped because the receive buffer of a UDP socket was full.", "server", "address")
	return register(registry, &filled{vectors: []vector{dropped}, fill: func(f *filled) {
		f.reset()
		for _, d := range now() {
			dropped.WithLabelValues(d.Server, d.Address).Add(float64(d.Dropped))
		}
	}})
}

// Found is a finding, with what it is about: a listener, a backend, or a UDP socket of a server.
type Found struct {
	Name     string `json:"finding"`
	Server   string `json:"server"`
	Address  string `json:"address,omitempty"`
	Upstream string `json:"upstream,omitempty"`
	Position string `json:"position,omitempty"` // of a route or a transport: where the admin API has its configuration
}

// RegisterFound adds the gauge of findings to the registry of a configuration. now returns those of the last look.
func RegisterFound(registry *prometheus.Registry, now func() []Found) error {
	found := gaugeVec("finding", "1 for each thing that the last look, once a minute, found to be wrong.", "finding", "server", "address", "upstream")
	return register(registry, &filled{vectors: []vector{found}, fill: func(f *filled) {
		f.reset()
		for _, one := range now() {
			found.WithLabelValues(one.Name, one.Server, one.Address, one.Upstream).Set(1)
		}
	}})
}
