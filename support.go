package sockopt

import (
	"errors"
	"runtime"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// support is what is known of an option on this system.
type support struct {
	Name       string            `json:"name"`
	Kernel     string            `json:"kernel"`
	Value      string            `json:"value"`
	Phases     []string          `json:"phases"`
	Since      string            `json:"since_linux,omitempty"`
	Supported  bool              `json:"supported"`
	Default    string            `json:"default,omitempty"`
	Takes      string            `json:"takes,omitempty"`
	Bounds     map[string]string `json:"bounds,omitempty"`
	Capability string            `json:"capability,omitempty"`
	Doc        string            `json:"doc"`
}

// system is what this system offers.
type system struct {
	OS      string    `json:"os"`
	Kernel  string    `json:"kernel,omitempty"`
	Options []support `json:"options"`
}

// thisSystem asks the kernel for the support and the default of every option.
func thisSystem() system {
	s := system{OS: runtime.GOOS, Kernel: socket.KernelRelease()}
	for _, r := range rows {
		s.Options = append(s.Options, r.support())
	}
	return s
}

func (r row) support() support {
	s := support{
		Name:       r.name,
		Kernel:     r.option.Name,
		Value:      r.want(),
		Since:      r.since,
		Supported:  true,
		Takes:      r.takes,
		Capability: r.capability,
		Doc:        r.doc,
	}
	for _, p := range each(r.phases) {
		s.Phases = append(s.Phases, phaseNames[p])
	}
	if r.bounds != "" {
		s.Bounds = map[string]string{r.bounds: sysctl(r.bounds)}
	}
	if r.option.Name == "" || r.repeats() {
		return s
	}
	value, err := socket.Default(r.phases == listen, r.option)
	switch {
	case err == nil:
		if r.doubled {
			value.Number /= 2
		}
		s.Default = r.show(value)
	case errors.Is(err, errors.ErrUnsupported), isMissing(err):
		s.Supported = r.option.Supported() && runtime.GOOS != "linux"
	}
	return s
}
