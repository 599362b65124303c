package trial

import (
	"net"
	"slices"
	"syscall"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// afterHandshake are the options that are set on an open connection, though the kernel
// takes them sooner.
var afterHandshake = []socket.Option{
	// Go sets them itself, on an open connection (newTCPConn in net/tcpsock.go).
	socket.NoDelay, socket.KeepAlive, socket.KeepAliveIdle, socket.KeepAliveInterval, socket.KeepAliveCount,

	// Off, it would also delay the acknowledgement that ends the handshake
	// (tcp_rcv_synsent_state_process in the kernel's net/ipv4/tcp_input.c).
	socket.QuickAck,
}

// decidedByRoute are the options that a route may replace as the connection is made
// (tcp_ca_dst_init in the kernel's net/ipv4/tcp_output.c): they are set twice. What they
// put into the SYN, ECN for dctcp, needs the first time.
var decidedByRoute = []socket.Option{socket.Congestion}

func includes(options []socket.Option, o socket.Option) bool {
	return slices.ContainsFunc(options, o.Is)
}

// BeforeSYN splits settings for connections that Go dials, of kind Dialed or DialedMPTCP:
// into those to set before the SYN, and those to set on the open connection. It tries them
// all on one connection over loopback: before the SYN goes what the kernel takes there, and
// what setting it again later would not change. Where loopback does not connect, that is
// all that is not known to come later.
func BeforeSYN(kind Kind, settings []socket.Setting) (before, after []socket.Setting) {
	early := make([]bool, len(settings))
	for i, s := range settings {
		early[i] = !includes(afterHandshake, s.Option)
	}
	check := func(still func(i int, s socket.Setting) bool) {
		for i, s := range settings {
			if early[i] && !s.Option.Is(socket.Interface) { // loopback is another
				early[i] = still(i, s)
			}
		}
	}
	client := kind.dialer()
	client.Control = func(_, _ string, raw syscall.RawConn) error {
		check(func(_ int, s socket.Setting) bool {
			return setAll(socket.RawSocket{RawConn: raw}, []socket.Setting{s}) == nil
		})
		return nil
	}
	_ = connected(client, func(_, dialed *net.TCPConn) {
		was := make([]socket.State, len(settings)) // of all first: on Linux 7.3 SO_RCVBUF changes TCP_WINDOW_CLAMP
		check(func(i int, s socket.Setting) (known bool) {
			var err error
			was[i], err = socket.StateOf(dialed, s.Option)
			return err == nil
		})
		check(func(i int, s socket.Setting) bool {
			if setAll(dialed, []socket.Setting{s}) != nil {
				return true // it is no longer possible
			}
			now, err := socket.StateOf(dialed, s.Option)
			return err == nil && now == was[i]
		})
	})
	for i, s := range settings {
		if early[i] {
			before = append(before, s)
		}
		if !early[i] || includes(decidedByRoute, s.Option) {
			after = append(after, s)
		}
	}
	return before, after
}
