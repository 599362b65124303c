package stats

import "github.com/prometheus/client_golang/prometheus"

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
