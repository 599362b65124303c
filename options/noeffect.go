package options

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
	"github.com/caddy-sockopt/caddy-sockopt/socket/trial"
)

// withoutServerFastOpen says why TCP_FASTOPEN on a listening socket has no effect.
func withoutServerFastOpen(queue socket.Value, _ []socket.Setting) string {
	const name, server = "net.ipv4.tcp_fastopen", 2 // TFO_SERVER_ENABLE in the kernel's include/net/tcp.h
	bits, err := strconv.ParseInt(socket.Sysctl(name), 0, 64)
	if err != nil || queue.Number == 0 || bits&server != 0 {
		return ""
	}
	return fmt.Sprintf("%s is %d: set it to %d", name, bits, bits|server)
}

// changedLater says that this kernel changes a value of o when bytes arrive, where it
// does on a scratch connection, and what to do instead.
func changedLater(o socket.Option, instead string) func(socket.Value, []socket.Setting) string {
	return func(v socket.Value, before []socket.Setting) string {
		now, err := trial.AfterBytes(append(slices.Clip(before), socket.Setting{Option: o, Value: v}), o)
		if err != nil || now == v {
			return ""
		}
		return "this kernel changes it when bytes arrive; " + instead
	}
}

// localPorts is the sysctl with the range of local ports.
const localPorts = "net.ipv4.ip_local_port_range"

// beyondLocalPorts says that the kernel ignores an end of a range of ports: one that is
// outside its own range (inet_sk_get_local_port_range in net/ipv4/inet_connection_sock.c).
func beyondLocalPorts(v socket.Value, _ []socket.Setting) string {
	var first, last uint16
	if _, err := fmt.Sscan(socket.Sysctl(localPorts), &first, &last); err != nil {
		return ""
	}
	if r := portRangeIn(v); first <= r.First && r.Last <= last {
		return ""
	}
	return fmt.Sprintf("the kernel ignores what is outside of %s, which is %d-%d", localPorts, first, last)
}

// loopbackSegment is the largest segment over loopback, in bytes. A receive buffer must
// hold two of them, and the kernel doubles its size.
const loopbackSegment = 65_483

// smallBuffer says that a receive buffer holds less than two segments over loopback.
func smallBuffer(requested socket.Setting, phases Phase) string {
	if phases&Packet != 0 {
		return raisedByQUIC(requested, phases)
	}
	if requested.Value.Number >= loopbackSegment {
		return ""
	}
	return "it holds less than two segments over loopback (65483 bytes each), which slows or nearly stops what a client or " +
		"backend on this machine sends; 64KiB is enough" + unitMeant(requested.Value)
}

// unitMeant asks whether a size without a unit was meant to have one.
func unitMeant(requested socket.Value) string {
	if requested.Number < 16 || requested.Number >= 1<<10 {
		return ""
	}
	return fmt.Sprintf("; did you mean %dKiB?", requested.Number)
}

// raisedByQUIC says that quic-go raises a buffer of a UDP socket.
func raisedByQUIC(requested socket.Setting, phases Phase) string {
	if phases&Packet == 0 || requested.Value == socket.AsQUIC(requested.Value) {
		return ""
	}
	return "quic-go raises less than 3.5MiB to 7MiB, as far as the sysctl or CAP_NET_ADMIN permits"
}

// lossyLinger says what SO_LINGER does to a response, or to the process.
func lossyLinger(requested socket.Setting, _ Phase) string {
	if requested.Value.Number == 0 {
		return "closing a connection drops what the client has not received yet, also the end of a response"
	}
	return "each connection that is closed with unsent bytes waits in a thread of the process, and Go ends a process with 10,000 threads"
}

// ofTheProcess says that a listener of one server cannot be without MPTCP alone.
func ofTheProcess(requested socket.Setting, phases Phase) string {
	if phases&Listen == 0 || requested.Value.Number != 0 {
		return ""
	}
	return "it is a setting of Go and holds for all listeners that this process opens from now on"
}

// unreadable says that a kernel parameter on which an effect depends cannot be read.
func unreadable(sysctl, unless string) func(socket.Setting, Phase) string {
	return func(requested socket.Setting, _ Phase) string {
		if socket.Sysctl(sysctl) != "" || requested.Value.Number == 0 {
			return ""
		}
		return sysctl + " cannot be read here: it has no effect unless " + unless
	}
}

// heldBack says what Nagle's algorithm does.
func heldBack(requested socket.Setting, _ Phase) string {
	if requested.Value.Number != 0 {
		return ""
	}
	return "Nagle's algorithm holds back the end of what is sent in pieces until the peer acknowledges, which may take it 40ms"
}

// wakesUp says what a small notsent_lowat costs.
func wakesUp(requested socket.Setting, _ Phase) string {
	if requested.Value.Number >= 4<<10 {
		return ""
	}
	return "each write waits until nearly all before it was sent, which costs a wake-up for each segment; 16KiB is little enough" +
		unitMeant(requested.Value)
}

// endsAtALoss says that a short user_timeout ends connections that work.
func endsAtALoss(requested socket.Setting, _ Phase) string {
	if requested.Value.Number == 0 || requested.Value.Number >= 1000 {
		return ""
	}
	return "one lost segment, or a peer that is slow for a moment, ends the connection: a retransmission takes 200ms or more"
}
