package stats

import "github.com/prometheus/client_golang/prometheus"

// Datagrams is what the kernel has dropped at one UDP socket of HTTP/3.
type Datagrams struct {
	Server  string // name of the HTTP server
	Address string // of the socket
	Dropped uint32
}

// RegisterDatagrams adds the metric of UDP sockets to the registry of a configuration.
// now returns the sockets that are open.
func RegisterDatagrams(registry *prometheus.Registry, now func() []Datagrams) error {
	return register(registry, datagramsCollector(now))
}

type datagramsCollector func() []Datagrams

var droppedDatagramsDesc = desc("dropped_datagrams_total",
	"Datagrams that the kernel dropped because the receive buffer of a UDP socket was full.", "server", "address")

// Describe implements prometheus.Collector.
func (datagramsCollector) Describe(ch chan<- *prometheus.Desc) { ch <- droppedDatagramsDesc }

// Collect implements prometheus.Collector. Sockets of equal labels are added up.
func (now datagramsCollector) Collect(ch chan<- prometheus.Metric) {
	sums := make(map[Datagrams]uint64)
	for _, d := range now() {
		dropped := d.Dropped
		d.Dropped = 0
		sums[d] += uint64(dropped)
	}
	for d, dropped := range sums {
		ch <- prometheus.MustNewConstMetric(droppedDatagramsDesc, prometheus.CounterValue, float64(dropped), d.Server, d.Address)
	}
}
