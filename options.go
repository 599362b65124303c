package sockopt

import (
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Options are socket options by their configuration names. An option that is not
// named is not touched, save for quickack, whose default is the cure.
type Options struct {
	// Send small segments at once instead of waiting until earlier ones are
	// acknowledged (Nagle's algorithm). Kernel: TCP_NODELAY. Caddy's own
	// default is true; false brings Nagle's algorithm back.
	NoDelay *bool `json:"nodelay,omitempty"`

	// When to acknowledge what the peer sent. Kernel: TCP_QUICKACK. "auto"
	// acknowledges when a read is about to wait and nothing that was written
	// since carries the acknowledgement; "on" acknowledges after every read;
	// "off" leaves it to the kernel's delayed-ACK timer. Default: "auto".
	// Linux only.
	QuickAck *socket.AckMode `json:"quickack,omitempty"`

	// Receive buffer in bytes, or as a string such as "256KiB". Kernel:
	// SO_RCVBUF, which doubles the value for its own bookkeeping, clamps it at
	// net.core.rmem_max, and no longer tunes this buffer by itself. Default:
	// the kernel's autotuning (net.ipv4.tcp_rmem).
	RecvBuffer *Size `json:"recv_buffer,omitempty"`

	// Send buffer in bytes, or as a string such as "1MiB". Kernel: SO_SNDBUF,
	// which doubles the value for its own bookkeeping, clamps it at
	// net.core.wmem_max, and no longer tunes this buffer by itself. Default:
	// the kernel's autotuning (net.ipv4.tcp_wmem).
	SendBuffer *Size `json:"send_buffer,omitempty"`

	// What to do at load with an option that this system or kernel refuses:
	// "fail" refuses the configuration, "warn" logs it and leaves the option
	// out. Default: "fail".
	OnUnsupported *Unsupported `json:"on_unsupported,omitempty"`
}

// rows is the table of options. All that is known of an option is in its row.
var rows = []row{
	{
		name: "nodelay", option: socket.NoDelay, phases: accept | dial | route,
		doc:   "send small segments at once: Nagle's algorithm off",
		field: at(onOff, func(o *Options) **bool { return &o.NoDelay }),
	},
	{
		name: "quickack", option: socket.QuickAck, phases: accept | dial,
		doc:   "when to acknowledge: in time to prevent a stall, after every read, or as the kernel does",
		field: at(ackModes, func(o *Options) **socket.AckMode { return &o.QuickAck }),
	},
	{
		name: "recv_buffer", option: socket.RecvBuffer, phases: listen | accept | dial,
		doc:     "receive buffer; a fixed size switches the kernel's autotuning off",
		doubled: true, sysctl: "net.core.rmem_max",
		field: at(sizes, func(o *Options) **Size { return &o.RecvBuffer }),
	},
	{
		name: "send_buffer", option: socket.SendBuffer, phases: listen | accept | dial | route,
		doc:     "send buffer; a fixed size switches the kernel's autotuning off",
		doubled: true, sysctl: "net.core.wmem_max",
		field: at(sizes, func(o *Options) **Size { return &o.SendBuffer }),
	},
	{
		name: "on_unsupported", phases: listen | accept | dial | route,
		doc:   "what this system refuses: fail the load, or warn and leave the option out",
		field: at(unsupported, func(o *Options) **Unsupported { return &o.OnUnsupported }),
	},
}

// row is what is known of one option.
type row struct {
	name   string        // in Caddyfile and JSON
	option socket.Option // the kernel's; none for a row that is not the kernel's business
	phases phase
	doc    string // one line

	// doubled says that the kernel doubles the value, sysctl where it clamps it.
	doubled bool
	sysctl  string

	field
}

// phase is when an option may be set.
type phase uint8

const (
	listen phase = 1 << iota // on the listening socket
	accept                   // on each accepted connection
	dial                     // on each dialed connection
	route                    // on the connection of the request being served
)

// each returns the phases in set one by one.
func each(set phase) []phase {
	var phases []phase
	for p := listen; p <= route; p <<= 1 {
		if set&p != 0 {
			phases = append(phases, p)
		}
	}
	return phases
}

// Unsupported is what to do with an option that this system refuses.
type Unsupported string

const (
	unsupportedFail Unsupported = "fail"
	unsupportedWarn Unsupported = "warn"
)
