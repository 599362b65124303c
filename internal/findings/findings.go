// Package findings says what is wrong, what it costs and how to repair it. It is told what was seen, and asks nobody.
package findings

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// Evidence is what was seen of one place: a listener, a backend, or a UDP socket.
type Evidence struct {
	stats.Found               // the place, without a name
	During      time.Duration // between two looks at what is counted
	stats.Totals

	QuickAck string // the mode
	Reason   string // why it has no effect
	Options  []options.Effect
	PassedBy []string // options that HTTP/3 passes by

	Trap, Fix string // why it lacks options by mistake, and what adds them

	Overflows        uint64 // of all accept queues
	DroppedDatagrams uint32
	RecvBuffer       int64 // of a UDP socket, as getsockopt(2) reads it
}

// System is what fixes depend on. Its functions are asked when there is something to fix.
type System struct {
	Sysctl        func(name string) string
	HasCapability func(name string) bool
	TimeWait      func(upstream string) int // sockets in TIME-WAIT that were connected to it
}

// Finding is what is wrong at one place. A note is the same without a fix of ours.
type Finding struct {
	stats.Found
	Evidence string `json:"evidence"`
	Cost     string `json:"cost"`
	Fix      string `json:"fix,omitempty"` // a line of a Caddyfile, or a sysctl
	Check    string `json:"check"`         // how to see that the fix helped
}

// row is one finding. see returns the evidence, empty where there is none, and the fix.
type row struct {
	name, cost, check string
	see               func(e *Evidence, s System) (evidence, fix string)
}

// In finds what is wrong.
func In(evidence []Evidence, s System) (found, notes []Finding) {
	found, notes = []Finding{}, []Finding{}
	for _, r := range rows {
		for i := range evidence {
			seen, fix := r.see(&evidence[i], s)
			one := Finding{evidence[i].Found, seen, r.cost, fix, r.check}
			one.Name = r.name
			switch {
			case seen == "":
			case fix == "":
				notes = append(notes, one)
			default:
				found = append(found, one)
			}
		}
	}
	return found, notes
}

// Every is the time between two looks of a running configuration.
var Every = time.Minute

// requested returns the value of an option, empty where it is not named.
func (e *Evidence) requested(option string) string {
	for _, o := range e.Options {
		if o.Option == option && o.LeftOut == "" {
			return o.Requested
		}
	}
	return ""
}

// block is where the connections of the place have their options.
func (e *Evidence) block(lines string) string {
	if e.Upstream != "" {
		return "transport sockopt { socket { " + lines + " } }"
	}
	return "listener_wrappers { sockopt { " + lines + " } }"
}

// number returns a sysctl that is a number, 0 where it cannot be read.
func (s System) number(name string) (n int64) {
	_, _ = fmt.Sscan(s.Sysctl(name), &n)
	return n
}

// powerOfTwo returns the first power of two that is not smaller.
func powerOfTwo(n int64) int64 { return 1 << bits.Len64(uint64(max(n, 1)-1)) } //nolint:gosec // positive
