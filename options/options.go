// Package options has the socket options by their configuration names: how they are written in a Caddyfile
// and in JSON, in which phases they can be set, and what this system makes of their values.
package options

import (
	"math"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Options are socket options by their configuration names. An option that is left out is not touched, except
// quickack, whose default is auto.
type Options struct {
	// Send small segments at once instead of waiting until earlier ones are acknowledged (Nagle's algorithm).
	// Kernel: TCP_NODELAY. Caddy's own default is true; false brings Nagle's algorithm back.
	NoDelay *bool `json:"nodelay,omitempty"`

	// When to acknowledge what the peer sent. Kernel: TCP_QUICKACK. "auto" acknowledges when a read is about
	// to wait and nothing that was written since carries the acknowledgement; "on" acknowledges after every
	// read; "off" leaves it to the kernel's delayed-ACK timer. Default: "auto". Linux only.
	QuickAck *socket.AckMode `json:"quickack,omitempty"`

	// The longest that the kernel delays an acknowledgement. Kernel: TCP_DELACK_MAX_US, microseconds, rounded
	// up to its clock tick; at least two ticks (8ms at 250 Hz), at most 200ms. It shortens a stall and does
	// not remove it. Default: 200ms. Linux 6.15.
	DelayedAckMax *Duration `json:"delayed_ack_max,omitempty"`

	// The most unsent bytes that the socket holds before it stops being writable. More of a response waits in the
	// program, where it can still be reordered; a small value costs more wake-ups. Kernel: TCP_NOTSENT_LOWAT.
	// Default: net.ipv4.tcp_notsent_lowat. It does not reach accepted connections where Go listens with MPTCP and the
	// kernel has the option there, as Linux 6.12 has and 6.1 has not: those have no limit.
	NotSentLowat *Size `json:"notsent_lowat,omitempty"`

	// Send full segments only, from the header of a response to its end. A response that is written slowly
	// and not flushed waits up to 200ms for a full segment. A flush sends what is there. Not set over HTTP/2.
	// Kernel: TCP_CORK. Default: false.
	Cork *bool `json:"cork,omitempty"`

	// How long a read polls the network device instead of sleeping. Kernel: SO_BUSY_POLL, microseconds,
	// rounded up. For more than net.core.busy_read older kernels want CAP_NET_ADMIN. It costs a busy
	// processor. Default: net.core.busy_read.
	BusyPoll *Duration `json:"busy_poll,omitempty"`

	// Receive buffer in bytes, or as a string such as "256KiB". Kernel: SO_RCVBUF, which doubles the value for its
	// own bookkeeping, clamps it at net.core.rmem_max, and no longer tunes this buffer by itself. With CAP_NET_ADMIN
	// it is SO_RCVBUFFORCE, which does not clamp. Default: the kernel's autotuning (net.ipv4.tcp_rmem). On a UDP
	// socket quic-go raises less than 3.5MiB to 7MiB, which is the default there; so it does with send_buffer.
	RecvBuffer *Size `json:"recv_buffer,omitempty"`

	// Send buffer in bytes, or as a string such as "1MiB". Kernel: SO_SNDBUF, with net.core.wmem_max,
	// SO_SNDBUFFORCE and net.ipv4.tcp_wmem as for recv_buffer. Default: the kernel's autotuning.
	SendBuffer *Size `json:"send_buffer,omitempty"`

	// The congestion control algorithm. Kernel: TCP_CONGESTION. One that net.ipv4.tcp_allowed_congestion_control does
	// not list needs CAP_NET_ADMIN. Default: net.ipv4.tcp_congestion_control.
	Congestion *string `json:"congestion,omitempty"`

	// The most bytes that are sent in a second, or a string such as "10MiB". In a route it bounds the bodies
	// of responses over every protocol, and requests at the same time share it. Elsewhere it is the kernel's
	// alone: HTTP/3 is not bounded, nor is an MPTCP connection, unless multipath is off. Kernel:
	// SO_MAX_PACING_RATE. Default: no limit.
	PacingRate *Size `json:"pacing_rate,omitempty"`

	// How many bytes of the body of each response go before pacing_rate holds, or a string such as "500KiB". It
	// needs pacing_rate beside it. Default: 0.
	PacingAfter *Size `json:"pacing_after,omitempty"`

	// The largest receive window in bytes that is offered, until the kernel sets it anew. Kernel: TCP_WINDOW_CLAMP,
	// which is at least half of the smallest receive buffer. Present kernels derive it from the receive
	// buffer again when the first segments of some size arrive (tcp_measure_rcv_mss in net/ipv4/tcp_input.c),
	// which is tried at load and warned of; all do when they enlarge the buffer (tcp_rcv_space_adjust).
	// recv_buffer bounds the window for good, roughly. Default: no bound but the receive buffer.
	WindowClamp *Size `json:"window_clamp,omitempty"`

	// The largest segment that is offered and sent, in bytes. Kernel: TCP_MAXSEG, 88 to 32767; the kernel subtracts the
	// TCP options. It is set on the listening socket, or before the SYN to a backend, because the handshake
	// fixes it. A small value costs more packets for the same bytes, and does not help where the path's MTU
	// is larger. Default: the interface's MTU decides.
	MaxSegment *Size `json:"max_segment,omitempty"`

	// Retransmit at constant intervals on connections with little in flight, instead of doubling them.
	// Kernel: TCP_THIN_LINEAR_TIMEOUTS. Default: net.ipv4.tcp_thin_linear_timeouts.
	ThinStream *bool `json:"thin_stream,omitempty"`

	// Probe idle connections. Kernel: SO_KEEPALIVE. Default: true. It is so whatever the server's keepalive_interval
	// says: for -1 Go takes its own default, and probes after 15s. Only false here switches it off.
	KeepAlive *bool `json:"keepalive,omitempty"`

	// How long a connection is idle before it is probed. Kernel: TCP_KEEPIDLE, whole seconds, rounded up; 1s
	// to 32767s. Default: the server's keepalive_idle, 15s.
	KeepAliveIdle *Duration `json:"keepalive_idle,omitempty"`

	// The time between two probes. Kernel: TCP_KEEPINTVL, whole seconds, rounded up; 1s to 32767s. Default:
	// the server's keepalive_interval, 15s; to backends the http transport's, 30s.
	KeepAliveInterval *Duration `json:"keepalive_interval,omitempty"`

	// How many probes go unanswered before the connection is dropped. Kernel: TCP_KEEPCNT, 1 to 127. Default:
	// the server's keepalive_count, 9.
	KeepAliveCount *Number `json:"keepalive_count,omitempty"`

	// How long sent bytes may stay unacknowledged, or unsent because the peer's window is full, before the
	// connection is dropped: a client that does not read for so long loses its connection, too. Kernel:
	// TCP_USER_TIMEOUT, milliseconds, rounded up; an MPTCP connection refuses it, unless multipath is off. 0
	// is the kernel's default, net.ipv4.tcp_retries2 retransmissions (about 15m).
	UserTimeout *Duration `json:"user_timeout,omitempty"`

	// How long close waits for unsent bytes. 0 loses data: close drops what the client has not received yet,
	// also the end of a response, and resets the connection. More than 0 makes close wait in a thread of the
	// process for a client that does not read, and Go ends a process with 10,000 threads. Kernel: SO_LINGER,
	// whole seconds, rounded up. Default: close returns and the kernel goes on sending.
	Linger *Duration `json:"linger,omitempty"`

	// How long a closed connection waits for the peer's FIN. Kernel: TCP_LINGER2, whole seconds, rounded up;
	// clamped at 120s. Default: net.ipv4.tcp_fin_timeout.
	FinTimeout *Duration `json:"fin_timeout,omitempty"`

	// The shortest time before a retransmission. Kernel: TCP_RTO_MIN_US, microseconds, rounded up to its
	// clock tick; at most 200ms. Default: 200ms. Linux 6.15.
	RTOMin *Duration `json:"rto_min,omitempty"`

	// The longest time between retransmissions. Kernel: TCP_RTO_MAX_MS, milliseconds, rounded up to its clock
	// tick; 1s to 120s. Default: net.ipv4.tcp_rto_max_ms, 120s. Linux 6.15.
	RTOMax *Duration `json:"rto_max,omitempty"`

	// The differentiated services code point of what is sent: a name such as "ef" or "af41", or 0 to 63. Kernel:
	// IP_TOS and IPV6_TCLASS. It also sets the priority. An MPTCP connection over IPv6 refuses the second and goes on
	// unmarked, which is counted. On a UDP socket it is in each packet beside the ECN bits of quic-go. Default: 0.
	DSCP *DSCP `json:"dscp,omitempty"`

	// The queueing priority on the way out. Kernel: SO_PRIORITY. More than 6 needs CAP_NET_ADMIN or, from
	// Linux 5.17, CAP_NET_RAW. Default: 0.
	Priority *Number `json:"priority,omitempty"`

	// The firewall and routing mark of what is sent. Kernel: SO_MARK. It needs CAP_NET_ADMIN or, from Linux
	// 5.17, CAP_NET_RAW. Default: 0.
	Mark *Number `json:"mark,omitempty"`

	// The time to live, or hop limit, of what is sent. A connection to a peer that is more hops away never
	// works. Kernel: IP_TTL and IPV6_UNICAST_HOPS, 1 to 255. Default: net.ipv4.ip_default_ttl.
	TTL *Number `json:"ttl,omitempty"`

	// The network interface that connections use. Kernel: SO_BINDTODEVICE. A listening socket has only the
	// clients that come in through it, save those that were queued before it was set; a UDP socket has only
	// the datagrams that do. A connection to a backend is dialed through it or, where the interface is gone,
	// not at all. Default: what routing decides.
	Interface *string `json:"interface,omitempty"`

	// Connect to the backend from the client's own address, a connection for each request, over HTTP/1.1. It
	// needs a route for the way back, and CAP_NET_ADMIN or CAP_NET_RAW. Where there is no client address of
	// the backend's family the connection has Caddy's, which is counted; health checks have it, too. Kernel:
	// IP_TRANSPARENT and IPV6_TRANSPARENT. Default: false.
	Transparent *bool `json:"transparent,omitempty"`

	// The local ports of connections to backends, such as "40000-49999". Kernel: IP_LOCAL_PORT_RANGE. The
	// kernel keeps to net.ipv4.ip_local_port_range as well. Default: that range. Linux 6.3.
	LocalPortRange *PortRange `json:"local_port_range,omitempty"`

	// How long the SYN of a connection to a backend is sent again, as a number of waits of 1s, 2s, 4s and so
	// on: 1 ends the dial after 3s, 2 after 7s. dial_timeout, 3s, ends it as well. Kernel: TCP_SYNCNT, 1 to
	// 127. Default: net.ipv4.tcp_syn_retries, 6.
	SynCount *Number `json:"syn_count,omitempty"`

	// Multipath TCP. Kernel: IPPROTO_MPTCP. MPTCP connections refuse quickack and some other options. To
	// backends true speaks it, where they do. In a listener wrapper false makes Caddy listen without it,
	// which holds for all listeners that the process opens from this load on; servers that disagree are an
	// error. It sets multipathtcp=0 in GODEBUG, until a configuration is loaded that does not say false.
	// Default: false to backends; a listening socket has what GODEBUG says, and MPTCP without that.
	Multipath *bool `json:"multipath,omitempty"`

	// How many connections may wait for Accept. Kernel: listen(2), called again; clamped at
	// net.core.somaxconn. Default: net.core.somaxconn.
	Backlog *Number `json:"backlog,omitempty"`

	// Wait this long for a client's first bytes before Accept has its connection. Kernel: TCP_DEFER_ACCEPT,
	// in steps of the SYN-ACK's retransmissions, rounded up (1s, 3s, 7s, 15s, 31s, …). Default: 0.
	DeferAccept *Duration `json:"defer_accept,omitempty"`

	// How many connections with data in the SYN may wait to be acknowledged (TCP Fast Open). Kernel: TCP_FASTOPEN,
	// clamped at net.core.somaxconn; net.ipv4.tcp_fastopen must contain 2 (3 is usual). Default: 0.
	FastOpen *Number `json:"fastopen,omitempty"`

	// Keep the client's SYN for the placeholders {http.tcp_info.syn.*}. It costs some 100 bytes a connection
	// until it is asked for. Listening sockets that speak MPTCP refuse it: it needs multipath off. Kernel:
	// TCP_SAVE_SYN. Default: false.
	SaveSYN *bool `json:"save_syn,omitempty"`

	// Options that have no name here. One may break a connection in any way. At load each is set on a
	// connection over loopback, and refused where data then does not arrive, or arrives late. One whose
	// numbers have a name is that option.
	Raw []RawOption `json:"raw,omitempty"`

	// Add what the kernel counted of a connection (TCP_INFO) to Caddy's metrics when it is closed; on a UDP
	// socket, the datagrams that the kernel drops. Default: false. Linux only.
	Metrics *bool `json:"metrics,omitempty"`

	// Remember the addresses of peers that wait for acknowledgements, at most 1,000 for an hour, for
	// GET /sockopt/peers. Default: true. Linux only.
	Peers *bool `json:"peers,omitempty"`

	// What to do at load with an option that this system or kernel refuses: "fail" refuses the configuration,
	// "warn" logs it and leaves the option out. Default: "fail".
	OnUnsupported *Unsupported `json:"on_unsupported,omitempty"`
}

// rows is the table of options, in the order in which they are set. Everything about an option follows from its row.
var rows = []row{
	{
		name: "nodelay", option: socket.NoDelay, phases: Accept | Dial | Route, since: "2.0",
		kind: onOff, without: "on", cautions: []caution{between(Accept|Dial|Route, 0, 0,
			"Nagle's algorithm holds back the end of what is sent in pieces until the peer acknowledges, which may take it 40ms")},
		doc: "send small segments at once: Nagle's algorithm off",
	},
	{
		name: "quickack", option: socket.QuickAck, phases: Accept | Dial, since: "2.4.4",
		kind: ackModes, without: "auto",
		doc: "acknowledge in time to prevent a stall, after every read, or as the kernel does",
	},
	{
		name: "delayed_ack_max", option: socket.DelayedAckMax, phases: Accept | Dial | Route, since: "6.15",
		kind: durations(time.Microsecond, 0, 200*time.Millisecond), takes: "two clock ticks (8ms at 250 Hz) to 200ms",
		doc: "longest delay of an acknowledgement",
	},
	{
		name: "notsent_lowat", option: socket.NotSentLowat, phases: Accept | Dial | Route, since: "3.12",
		kind: sizes(1, math.MaxInt32), without: "the sysctl, or unlimited behind MPTCP",
		bounds: "net.ipv4.tcp_notsent_lowat", cautions: []caution{between(Accept|Dial|Route, 0, 4<<10-1,
			"each write waits until nearly all before it was sent, which costs a wake-up for each segment; 16KiB is little enough")},
		doc: "most unsent bytes before the socket stops being writable",
	},
	{
		name: "cork", option: socket.Cork, phases: Route, since: "2.2", kind: onOff,
		doc: "send full segments only, while a request is handled",
	},
	{
		name: "busy_poll", option: socket.BusyPoll, phases: Accept | Dial | Packet, since: "3.11",
		kind: durations(time.Microsecond, 0, math.MaxInt32*time.Microsecond), bounds: "net.core.busy_read",
		capabilities: netAdmin, privileged: math.MaxInt32,
		doc: "poll the network device while reading, instead of sleeping",
	},
	{
		name: "recv_buffer", option: socket.RecvBuffer, phases: Listen | Accept | Dial | Packet, since: "2.0",
		kind: sizes(1, maxBuffer), without: "tuned by the kernel", bounds: "net.core.rmem_max",
		clampedBy: "net.core.rmem_max", capabilities: netAdmin,
		cautions: []caution{raisedByQUIC, between(Listen|Accept|Dial, 0, loopbackSegment-1,
			"it holds less than two segments over loopback (65483 bytes each), which slows or nearly stops what a client or "+
				"backend on this machine sends; 64KiB is enough")},
		doc: "receive buffer; a fixed size switches the kernel's autotuning off",
	},
	{
		name: "send_buffer", option: socket.SendBuffer, phases: Listen | Accept | Dial | Route | Packet, since: "2.0",
		kind: sizes(1, maxBuffer), without: "tuned by the kernel", bounds: "net.core.wmem_max",
		clampedBy: "net.core.wmem_max", capabilities: netAdmin, cautions: []caution{raisedByQUIC},
		doc: "send buffer; a fixed size switches the kernel's autotuning off",
	},
	{
		name: "congestion", option: socket.Congestion, phases: Listen | Accept | Dial | Route, since: "2.6.13",
		kind: names, bounds: "net.ipv4.tcp_available_congestion_control",
		permits: "net.ipv4.tcp_allowed_congestion_control", capabilities: netAdmin,
		doc: "congestion control algorithm",
	},
	{
		name: "pacing_rate", option: socket.PacingRate, phases: Accept | Dial | Route, since: "3.13",
		kind: sizes(1, math.MaxInt64), without: "unlimited",
		doc: "most bytes sent in a second",
	},
	{
		name: "pacing_after", phases: Route, kind: sizes(1, math.MaxInt64), without: "0",
		doc: "what of the body of a response goes before `pacing_rate` holds",
	},
	{
		name: "window_clamp", option: socket.WindowClamp, phases: Accept | Dial | Route, since: "2.4",
		kind: sizes(1, math.MaxInt32), without: "the receive buffer",
		noEffect: changedLater(socket.WindowClamp, "recv_buffer bounds the window, roughly"),
		doc:      "largest receive window that is offered, which recent kernels raise again as bytes arrive",
	},
	{
		name: "max_segment", option: socket.MaxSegment, phases: Listen | Dial, since: "2.0", sinceMPTCP: "6.17",
		kind: sizes(88, 32767), without: "from the MTU", takes: "88 to 32767 bytes",
		doc: "largest segment that is offered and sent",
	},
	{
		name: "thin_stream", option: socket.ThinStream, phases: Accept | Dial | Route, since: "2.6.34", kind: onOff,
		doc: "retransmit at constant intervals when little is in flight",
	},
	{
		name: "keepalive", option: socket.KeepAlive, phases: Accept | Dial, since: "2.0", kind: onOff, without: "on",
		doc: "probe idle connections",
	},
	{
		name: "keepalive_idle", option: socket.KeepAliveIdle, phases: Accept | Dial, since: "2.4",
		kind: durations(time.Second, time.Second, 32767*time.Second), without: "15s",
		doc: "idle time before the first probe",
	},
	{
		name: "keepalive_interval", option: socket.KeepAliveInterval, phases: Accept | Dial, since: "2.4",
		kind: durations(time.Second, time.Second, 32767*time.Second), without: "15s, dialed 30s",
		doc: "time between two probes",
	},
	{
		name: "keepalive_count", option: socket.KeepAliveCount, phases: Accept | Dial, since: "2.4",
		kind: counts(1, 127), without: "9",
		doc: "unanswered probes before the connection is dropped",
	},
	{
		name: "user_timeout", option: socket.UserTimeout, phases: Accept | Dial | Route, since: "2.6.37",
		kind: durations(time.Millisecond, 0, math.MaxInt32*time.Millisecond), without: "until net.ipv4.tcp_retries2",
		bounds: "net.ipv4.tcp_retries2", cautions: []caution{between(Accept|Dial|Route, 1, 999,
			"one lost segment, or a peer that is slow for a moment, ends the connection: a retransmission takes 200ms or more")},
		doc: "how long sent bytes may stay unacknowledged",
	},
	{
		name: "linger", option: socket.Linger, phases: Accept, since: "2.0",
		kind: durations(time.Second, 0, 32767*time.Second), without: "off",
		cautions: []caution{
			between(Accept, 0, 0, "closing a connection drops what the client has not received yet, also the end of a response"),
			between(Accept, 1, math.MaxInt64,
				"each connection that is closed with unsent bytes waits in a thread of the process, and Go ends a process with 10,000 threads"),
		},
		doc: "how long close waits for unsent bytes; 0s drops them, which cuts responses",
	},
	{
		name: "fin_timeout", option: socket.FinTimeout, phases: Accept | Dial, since: "2.4",
		kind: durations(time.Second, time.Second, math.MaxInt32*time.Second), bounds: "net.ipv4.tcp_fin_timeout",
		clampedBy: "the kernel",
		doc:       "how long a closed connection waits for the peer's FIN",
	},
	{
		name: "rto_min", option: socket.RTOMin, phases: Accept | Dial | Route, since: "6.15",
		kind: durations(time.Microsecond, 0, 200*time.Millisecond), takes: "two clock ticks (8ms at 250 Hz) to 200ms",
		doc: "shortest time before a retransmission",
	},
	{
		name: "rto_max", option: socket.RTOMax, phases: Accept | Dial | Route, since: "6.15",
		kind: durations(time.Millisecond, time.Second, 2*time.Minute), takes: "1s to 120s",
		doc: "longest time between retransmissions",
	},
	{
		// Before priority, which the kernel derives from it.
		name: "dscp", option: socket.TrafficClass, phases: Accept | Dial | Route | Packet, since: "2.0",
		kind: codePoints,
		doc:  "differentiated services code point of what is sent",
	},
	{
		name: "priority", option: socket.Priority, phases: Accept | Dial | Route | Packet, since: "2.0",
		kind: counts(0, math.MaxInt32), capabilities: netRaw, privileged: 7,
		doc: "queueing priority; more than 6 needs CAP_NET_ADMIN or CAP_NET_RAW",
	},
	{
		name: "mark", option: socket.Mark, phases: Accept | Dial | Route | Packet, since: "2.6.25",
		kind: marks, capabilities: netRaw, privileged: 1,
		doc: "firewall and routing mark",
	},
	{
		name: "ttl", option: socket.TTL, phases: Accept | Dial | Packet, since: "2.0",
		kind: counts(1, 255), bounds: "net.ipv4.ip_default_ttl",
		doc: "time to live, or hop limit",
	},
	{
		name: "interface", option: socket.Interface, phases: Listen | Dial | Packet, since: "2.0",
		kind: interfaces, without: "any",
		doc: "network interface that connections come in through, or are dialed through",
	},
	{
		name: "transparent", option: socket.Transparent, phases: Dial, since: "2.6.37",
		kind: onOff, capabilities: transparentNeeds, privileged: 1,
		doc: "connect to backends from the client's own address",
	},
	{
		name: "local_port_range", option: socket.LocalPortRange, phases: Dial, since: "6.3",
		kind: portRanges, without: localPorts, bounds: localPorts, noEffect: beyondLocalPorts, cautions: []caution{unreadable(localPorts, "the range is within that")},
		doc: "local ports of connections to backends",
	},
	{
		name: "syn_count", option: socket.SynCount, phases: Dial, since: "2.4",
		kind: counts(1, 127), bounds: "net.ipv4.tcp_syn_retries",
		doc: "how long the SYN to a backend is sent again, in waits of 1s, 2s, 4s …",
	},
	{
		name: "multipath", option: socket.Multipath, phases: Listen | Dial, since: "5.6",
		kind: onOff, without: "dialed off", bounds: "net.mptcp.enabled", cautions: []caution{between(Listen, 0, 0,
			"it is a setting of Go and holds for all listeners that this process opens from now on")},
		doc: "Multipath TCP, to backends that speak it; off for all listeners of the process",
	},
	{
		name: "backlog", option: socket.Backlog, phases: Listen, since: "2.0",
		kind: counts(1, math.MaxInt32), without: "net.core.somaxconn", bounds: "net.core.somaxconn",
		clampedBy: "net.core.somaxconn",
		doc:       "connections that may wait for Accept",
	},
	{
		name: "defer_accept", option: socket.DeferAccept, phases: Listen, since: "2.4", sinceMPTCP: "5.19",
		kind: durations(time.Second, 0, math.MaxInt32*time.Second), without: "off", clampedBy: "the kernel",
		doc: "how long Accept waits for a client's first bytes",
	},
	{
		name: "fastopen", option: socket.FastOpen, phases: Listen, since: "3.7", sinceMPTCP: "6.2",
		kind: counts(0, math.MaxInt32), bounds: "net.ipv4.tcp_fastopen", clampedBy: "net.core.somaxconn",
		noEffect: withoutServerFastOpen, cautions: []caution{unreadable("net.ipv4.tcp_fastopen", "that contains 2")},
		doc: "TCP Fast Open: connections with data in the SYN that may wait",
	},
	{
		name: "save_syn", option: socket.SaveSYN, phases: Listen, since: "4.2", sinceMPTCP: neverMPTCP,
		kind: onOff,
		doc:  "keep the client's SYN for placeholders",
	},
	{
		name: "raw", option: socket.Option{Name: "any"}, phases: Listen | Accept | Dial | Route | Packet, since: "2.0",
		kind: rawKind, clampedBy: "the kernel",
		doc: "any other option, by numbers; may repeat",
	},
	{
		name: "metrics", phases: Accept | Dial | Packet, kind: flag, without: "off",
		doc: "add TCP_INFO to Caddy's metrics when the connection closes",
	},
	{
		name: "peers", phases: Accept | Dial, kind: onOff, without: "on",
		doc: "remember which peers wait for acknowledgements",
	},
	{
		name: "on_unsupported", phases: Listen | Accept | Dial | Route | Packet, kind: reactions, without: "fail",
		doc: "what this system refuses: fail the load, or warn and leave the option out",
	},
}

// maxBuffer is the largest buffer that the kernel can double into an int, in bytes.
const maxBuffer = math.MaxInt32 / 2

// Unsupported is what to do with an option that this system refuses.
type Unsupported string

// What to do with an option that this system refuses.
const (
	Fail Unsupported = "fail"
	Warn Unsupported = "warn"
)
