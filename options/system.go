package options

import (
	"cmp"
	"runtime"
	"strings"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
	"github.com/caddy-sockopt/caddy-sockopt/socket/trial"
)

// Support is what this system offers of one option.
type Support struct {
	Name   string   `json:"name"`
	Kernel string   `json:"kernel,omitempty"` // the kernel's name
	Value  string   `json:"value"`            // what one looks like
	Phases []string `json:"phases"`
	Since  string   `json:"since_linux,omitempty"`

	// BeforeSYN says that connections to backends have it from their first packet on.
	BeforeSYN bool `json:"before_syn,omitempty"`

	// Supported says whether the running kernel has the option. If it has not, Needs says which system has.
	Supported bool   `json:"supported"`
	Needs     string `json:"needs,omitempty"`

	// NeedsMPTCP is what has it where the process listens with MPTCP, which refuses it on this kernel.
	NeedsMPTCP string `json:"needs_mptcp,omitempty"`

	// Default is what connections have without the option.
	Default string `json:"default,omitempty"`

	// Takes is the range of values that the kernel takes, Sysctl the values of the parameters that bound it, are its
	// default or permit it, and Capability what a process needs for some values.
	Takes      string            `json:"takes,omitempty"`
	Sysctl     map[string]string `json:"sysctl,omitempty"`
	Capability *Capability       `json:"capability,omitempty"`

	Doc string `json:"doc"`
}

// Capability is a privilege of a process, and whether this process has it.
type Capability struct {
	Name string `json:"name"`
	Held bool   `json:"held"`
}

// System is what this system offers.
type System struct {
	OS      string    `json:"os"`
	Kernel  string    `json:"kernel,omitempty"` // its release
	Options []Support `json:"options"`
}

// ThisSystem asks the kernel for the support and the default of every option.
func ThisSystem() System {
	s := System{OS: runtime.GOOS, Kernel: socket.KernelRelease()}
	for _, r := range rows {
		s.Options = append(s.Options, r.support())
	}
	return s
}

// Supported lists the names of the options that this system has.
func (s System) Supported() string {
	var names []string
	for _, o := range s.Options {
		if o.Supported {
			names = append(names, o.Name)
		}
	}
	return list(names)
}

func (r row) support() Support {
	s := Support{
		Name:       r.name,
		Kernel:     r.option.Name,
		Value:      r.want,
		Phases:     r.phases.names(),
		Since:      r.since,
		Takes:      r.takes,
		Capability: r.capability(),
		Doc:        r.doc,
	}
	if s.Default, s.Supported = r.here(); !s.Supported {
		s.Needs = "Linux"
		if runtime.GOOS == "linux" && r.since != "" {
			s.Needs += " " + r.since
		}
	} else if r.phases&Listen != 0 && !r.repeats() {
		if _, err := trial.Default(trial.Listener, r.option); isMissing(err) {
			s.NeedsMPTCP = r.needsMPTCP()
		}
	}
	if value, err := trial.Default(trial.Unconnected, r.option); err == nil && r.phases&Dial != 0 {
		before, _ := trial.BeforeSYN(trial.Dialed, []socket.Setting{{Option: r.option, Value: r.option.AsSet(value)}})
		s.BeforeSYN = len(before) > 0
	}
	if r.bounds != "" && runtime.GOOS == "linux" {
		s.Sysctl = map[string]string{r.bounds: socket.Sysctl(r.bounds)}
		if r.permits != "" {
			s.Sysctl[r.permits] = socket.Sysctl(r.permits)
		}
	}
	return s
}

// capability is the privilege that some values need on this kernel: one of several, or none.
func (r row) capability() *Capability {
	if r.capabilities == nil || r.privileged != 0 && !trial.NeedsCapability(socket.Setting{Option: r.option, Value: socket.Value{Number: r.privileged}}) {
		return nil
	}
	c := Capability{Name: r.capabilityNames()}
	for _, need := range r.capabilities {
		c.Held = c.Held || socket.HasCapability(need.name) && socket.KernelHas(cmp.Or(need.since, "0"))
	}
	return &c
}

// capabilityNames names the capabilities of which one is needed.
func (r row) capabilityNames() string {
	names := make([]string, len(r.capabilities))
	for i, need := range r.capabilities {
		names[i] = need.name
	}
	return strings.Join(names, " or ")
}

// here returns the default of the option on this system, and whether the system has the option.
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
	kind := trial.Unconnected
	if r.phases == Listen {
		kind = trial.Listener
	}
	value, err := trial.Default(kind, r.option)
	if isMissing(err) {
		value, err = trial.Default(trial.Unconnected, r.option)
	}
	switch {
	case isMissing(err):
		return "", false
	case r.without == "" && err == nil:
		return r.show(value), true
	case r.without == r.bounds:
		return cmp.Or(socket.Sysctl(r.bounds), r.bounds), true
	}
	return r.without, true
}
