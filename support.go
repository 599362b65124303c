package sockopt

import (
	"runtime"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// support is what is known of an option on this system.
type support struct {
	Name   string   `json:"name"`
	Kernel string   `json:"kernel,omitempty"` // the kernel's name
	Value  string   `json:"value"`            // what one looks like
	Phases []string `json:"phases"`
	Since  string   `json:"since_linux,omitempty"`

	// Supported says whether the running kernel has the option, and Needs what
	// it takes where it has not.
	Supported bool   `json:"supported"`
	Needs     string `json:"needs,omitempty"`

	// Default is what connections have where the option is not named.
	Default string `json:"default,omitempty"`

	// Takes is the range of values that the kernel takes, Sysctl the values of
	// the parameters that bound it, are its default or permit it, and Capability
	// what a process needs for some values.
	Takes      string            `json:"takes,omitempty"`
	Sysctl     map[string]string `json:"sysctl,omitempty"`
	Capability *capability       `json:"capability,omitempty"`

	Doc string `json:"doc"`
}

// capability is a privilege of a process, and whether this process holds it.
type capability struct {
	Name string `json:"name"`
	Held bool   `json:"held"`
}

// system is what this system offers.
type system struct {
	OS      string    `json:"os"`
	Kernel  string    `json:"kernel,omitempty"` // its release
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
		Name:   r.name,
		Kernel: r.option.Name,
		Value:  r.want(),
		Phases: r.phases.names(),
		Since:  r.since,
		Takes:  r.takes,
		Doc:    r.doc,
	}
	if s.Default, s.Supported = r.here(); !s.Supported {
		s.Needs = "Linux"
		if runtime.GOOS == "linux" && r.since != "" {
			s.Needs += " " + r.since
		}
	}
	if r.bounds != "" && runtime.GOOS == "linux" {
		s.Sysctl = map[string]string{r.bounds: sysctl(r.bounds)}
		if r.permits != "" {
			s.Sysctl[r.permits] = sysctl(r.permits)
		}
	}
	if r.capability != "" {
		s.Capability = &capability{r.capability, holds(r.capability)}
	}
	return s
}

// here returns the default of the option on this system, and whether there is
// the option at all.
func (r row) here() (byDefault string, supported bool) {
	if r.option.Name == "" {
		return r.without, true
	}
	if r.repeats() {
		return "", socket.Raw(0, 1).Supported()
	}
	if !r.option.Supported() {
		return "", false
	}
	value, err := socket.Default(r.phases == listen, r.option)
	switch {
	case isMissing(err):
		return "", false
	case r.without == "" && err == nil:
		return r.show(value), true
	case r.without == r.bounds:
		return sysctl(r.bounds), true
	}
	return r.without, true
}
