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

// between is a caution of values from least to most, in some of the phases.
func between(phases Phase, least, most int64, text string) caution {
	return func(requested int64, in Phase) string {
		if phases&in == 0 || requested < least || requested > most {
			return ""
		}
		return text
	}
}

// raisedByQUIC says that quic-go raises a buffer of a UDP socket.
func raisedByQUIC(requested int64, phases Phase) string {
	if phases&Packet == 0 || requested == socket.AsQUIC(socket.Value{Number: requested}).Number {
		return ""
	}
	return "quic-go raises less than 3.5MiB to 7MiB, as far as the sysctl or CAP_NET_ADMIN permits"
}

// loopbackSegment is the largest segment over loopback, in bytes. A receive buffer must
// hold two of them, and the kernel doubles its size.
const loopbackSegment = 65_483

// unitMeant asks whether a size without a unit was meant to have one.
func unitMeant(requested socket.Value) string {
	if requested.Number < 16 || requested.Number >= 1<<10 {
		return ""
	}
	return fmt.Sprintf("; did you mean %dKiB?", requested.Number)
}

// unreadable says that a kernel parameter on which an effect depends cannot be read.
func unreadable(sysctl, unless string) caution {
	return func(requested int64, _ Phase) string {
		if socket.Sysctl(sysctl) != "" || requested == 0 {
			return ""
		}
		return sysctl + " cannot be read here: it has no effect unless " + unless
	}
}
