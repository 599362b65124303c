package options

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
	"github.com/caddy-sockopt/caddy-sockopt/socket/trial"
)

// row describes one option.
type row struct {
	name   string        // in Caddyfile and JSON
	option socket.Option // the kernel's; empty for a row without a socket option
	phases Phase
	since  string // first version of Linux that has it
	doc    string // one line

	// sinceMPTCP is the first version whose listening MPTCP sockets have the option,
	// where that is another one, or neverMPTCP.
	sinceMPTCP string

	// without is what connections have without the option, where that is not what getsockopt reads from a new socket:
	// Go or Caddy sets it, or the kernel's value is a code. Where it is the same as bounds, it is that sysctl's value.
	without string

	// takes is the range of values that the kernel takes, where the check of the option's kind cannot know it. bounds
	// is the sysctl with the kernel's limit or default. clampedBy is the sysctl with the limit to which the kernel
	// reduces a larger value, or "the kernel".
	takes     string
	bounds    string
	clampedBy string

	// noEffect says why a value has no effect on this system, or no lasting one, and is empty where it has. It is
	// given the settings before it. Nil where every value has an effect.
	noEffect func(v socket.Value, before []socket.Setting) string

	cautions []caution

	// Some values need one of the capabilities. privileged is such a value, where one is known: a kernel may take it
	// from everybody. permits is the sysctl that lists the values that need none.
	capabilities []capabilityNeed
	privileged   int64
	permits      string

	kind
}

// caution says what is likely to go wrong with a value in these phases, and is empty where nothing is.
type caution func(requested int64, phases Phase) string

// neverMPTCP says that no listening MPTCP socket has an option.
const neverMPTCP = "never"

// capabilityNeed is a capability that permits a value, from a version of Linux on.
type capabilityNeed struct{ name, since string }

// Capabilities that options need.
var (
	netAdmin = []capabilityNeed{{name: "CAP_NET_ADMIN"}}
	netRaw   = []capabilityNeed{{name: "CAP_NET_ADMIN"}, {name: "CAP_NET_RAW", since: "5.17"}}

	transparentNeeds = []capabilityNeed{{name: "CAP_NET_ADMIN"}, {name: "CAP_NET_RAW"}}
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
var phases = []phase{
	{Listen, "listen", "on listening sockets", listenerLines, trial.Listener},
	{Accept, "accept", "on accepted connections", listenerLines, trial.Accepted},
	{Dial, "dial", "on connections to backends", "reverse_proxy … { transport sockopt { socket { %s } } }", trial.Dialed},
	{Route, "route", "for the requests of a route", "sockopt { %s } in the site or route", trial.Accepted},
	{Packet, "packet", "on the UDP sockets of HTTP/3", packetLines, trial.Datagram},
}

type phase struct {
	Phase
	name  string // in documentation and the admin API
	where string // its options are set
	lines string // of a Caddyfile that sets one there

	scratch trial.Kind // the socket on which they are tried
}

const (
	listenerLines = "servers { listener_wrappers { sockopt { %s } } } in the global options"
	packetLines   = "servers { packet_conn_wrappers { sockopt { %s } } } in the global options"
)

// each returns the phases in the set one by one.
func (p Phase) each() []phase {
	return slices.DeleteFunc(slices.Clone(phases), func(one phase) bool { return p&one.Phase == 0 })
}

func (p Phase) names() (names []string) {
	for _, one := range p.each() {
		names = append(names, one.name)
	}
	return names
}

// where says where an option of the phases is set, with the lines to write.
func (p Phase) where(option string) string {
	each := p.each()
	all := make([]string, len(each))
	for i, one := range each {
		if next := each[i+1:]; len(next) == 0 || next[0].lines != one.lines {
			one.where += " (" + fmt.Sprintf(one.lines, option) + ")"
		}
		all[i] = one.where
	}
	return list(all)
}

// fields has the index of each option's field in Options, by its name in JSON.
var fields = func() map[string]int {
	all, t := make(map[string]int), reflect.TypeFor[Options]()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		all[name] = i
	}
	return all
}()

// field returns a pointer to the option's field.
func (r row) field(o *Options) any {
	return reflect.ValueOf(o).Elem().Field(fields[r.name]).Addr().Interface()
}

// These are the functions of the kind, for the option's field.
func (r row) isSet(o *Options) bool       { return !reflect.ValueOf(r.field(o)).Elem().IsZero() }
func (r row) check(o *Options) error      { return r.kind.check(r.field(o)) }
func (r row) effects(o *Options) []Effect { return r.kind.effects(r.field(o), r) }

func (r row) parse(o *Options, words []string) error {
	return r.explain(r.kind.parse(r.field(o), words), strings.Join(words, " "))
}

func (r row) unmarshal(o *Options, text []byte) error {
	return r.explain(r.kind.unmarshal(r.field(o), text), string(text))
}

// repeats reports whether an option may be set more than once.
func (r row) repeats() bool { return r.name == "raw" }

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
