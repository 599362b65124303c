package stats

import "github.com/prometheus/client_golang/prometheus"

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
