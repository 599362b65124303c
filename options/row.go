package options

import (
	"fmt"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// row describes one option.
type row struct {
	name   string        // in Caddyfile and JSON
	option socket.Option // the kernel's; empty for a row without a socket option
	phases Phase
	since  string // first version of Linux that has it
	doc    string // one line

	// sinceMPTCP is the first version whose listening MPTCP sockets have the option,
	// where that is another one.
	sinceMPTCP string

	// without is what connections have without the option, where that is not what
	// getsockopt reads from a new socket: Go or Caddy sets it, or the kernel's value
	// is a code. Where it is the same as bounds, it is that sysctl's value.
	without string

	// behindMPTCP is what accepted connections have instead where the listening socket
	// speaks MPTCP and has the option.
	behindMPTCP string

	// takes is the range of values that the kernel takes, where the check of the
	// option's kind cannot know it. bounds is the sysctl with the kernel's limit or
	// default. clampedBy is the sysctl with the limit to which the kernel reduces a
	// larger value, or "the kernel".
	takes     string
	bounds    string
	clampedBy string

	// noEffect says why a value has no effect on this system, or no lasting one,
	// and is empty where it has. It is given the settings before it. Nil where
	// every value has an effect.
	noEffect func(v socket.Value, before []socket.Setting) string

	// caution says what is likely to go wrong with a value in these phases, and is
	// empty where nothing is. Nil where no value needs it.
	caution func(requested socket.Setting, phases Phase) string

	// Some values need one of the capabilities. privileged is such a value, where one is
	// known: a kernel may take it from everybody. permits is the sysctl that lists the
	// values that need none.
	capabilities []capabilityNeed
	privileged   int64
	permits      string

	field
}

// capabilityNeed is a capability that permits a value, from a version of Linux on.
type capabilityNeed struct{ name, since string }

// Capabilities that options need.
var (
	netAdmin = []capabilityNeed{{name: "CAP_NET_ADMIN"}}
	netRaw   = []capabilityNeed{{name: "CAP_NET_ADMIN"}, {name: "CAP_NET_RAW", since: "5.17"}}
)

// Phase is a set of the times at which an option is set.
type Phase uint8

// The phases.
const (
	Listen Phase = 1 << iota // on the listening socket
	Accept                   // on each accepted connection
	Dial                     // on each dialed connection
	Route                    // on the connection of a request, while it is served
	Packet                   // on a UDP socket of HTTP/3
)

// phases describe each phase, in their order.
var phases = []struct {
	Phase
	name   string // in documentation and the admin API
	letter string // in the table of options
	place  string // where its options are set
	lines  string // of a Caddyfile that sets one there
}{
	{Listen, "listen", "L", "on listening sockets", listenerLines},
	{Accept, "accept", "A", "on accepted connections", listenerLines},
	{Dial, "dial", "D", "on connections to backends", "reverse_proxy … { transport sockopt { socket { %s } } }"},
	{Route, "route", "R", "for the requests of a route", "sockopt { %s } in the site or route"},
	{Packet, "packet", "P", "on the UDP sockets of HTTP/3", "servers { packet_conn_wrappers { sockopt { %s } } } in the global options"},
}

const listenerLines = "servers { listener_wrappers { sockopt { %s } } } in the global options"

func (p Phase) names() (names []string) {
	for _, one := range phases {
		if p&one.Phase != 0 {
			names = append(names, one.name)
		}
	}
	return names
}

// places say where an option of the phases is set, with the lines to write.
func (p Phase) places(option string) (places []string) {
	for i, one := range phases {
		if p&one.Phase == 0 {
			continue
		}
		place := one.place
		if i+1 == len(phases) || p&phases[i+1].Phase == 0 || phases[i+1].lines != one.lines {
			place += " (" + fmt.Sprintf(one.lines, option) + ")"
		}
		places = append(places, place)
	}
	return places
}

// each returns the phases in the set one by one.
func (p Phase) each() (each []Phase) {
	for _, one := range phases {
		if p&one.Phase != 0 {
			each = append(each, one.Phase)
		}
	}
	return each
}

// rowOf returns the row of a kernel option: that of raw for one that has no row.
func rowOf(o socket.Option) row {
	i := slices.IndexFunc(rows, func(r row) bool { return r.option.Is(o) })
	if i < 0 {
		i = slices.IndexFunc(rows, row.repeats)
	}
	return rows[i]
}

// NameOf returns the configuration name of a kernel option by the kernel's name.
func NameOf(kernel string) string { return rowOf(socket.Option{Name: kernel}).name }

// Named is the field of a log line that names a kernel option: option as the configuration
// does, kernel as the kernel does.
func Named(o socket.Option) zap.Field {
	return zap.Inline(zapcore.ObjectMarshalerFunc(func(e zapcore.ObjectEncoder) error {
		e.AddString("option", rowOf(o).name)
		e.AddString("kernel", o.Name)
		return nil
	}))
}

// Has reports whether there is an option of that configuration name.
func Has(name string) bool {
	return slices.ContainsFunc(rows, func(r row) bool { return r.name == name })
}
