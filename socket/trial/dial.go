package trial

import (
	"net"
	"slices"
	"syscall"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// afterHandshake are the options that are set on an open connection, though the kernel takes them sooner.
var afterHandshake = []socket.Option{
	// Go sets them itself, on an open connection (newTCPConn in net/tcpsock.go).
	socket.NoDelay, socket.KeepAlive, socket.KeepAliveIdle, socket.KeepAliveInterval, socket.KeepAliveCount,

	// Off, it would also delay the acknowledgement that ends the handshake
	// (tcp_rcv_synsent_state_process in the kernel's net/ipv4/tcp_input.c).
	socket.QuickAck,
}

// BeforeSYN splits settings for connections that Go dials, of kind Dialed or DialedMPTCP: into those to set before
// the SYN, and those to set on the open connection. A congestion control is among both. A route may replace it as the
// connection is made (tcp_ca_dst_init in the kernel's net/ipv4/tcp_output.c), and what it puts into the SYN, ECN for
// dctcp, needs the first time.
func BeforeSYN(kind Kind, settings []socket.Setting) (before, after []socket.Setting) {
	for _, s := range settings {
		early := !slices.ContainsFunc(afterHandshake, s.Option.Is) && lasts(kind, s)
		if early {
			before = append(before, s)
		}
		if !early || s.Option.Is(socket.Congestion) {
			after = append(after, s)
		}
	}
	return before, after
}

// lasts reports whether the kernel takes a setting before the SYN, and setting it again on the open connection would
// change nothing. It tries that over loopback. Where loopback does not connect, taking it is enough.
func lasts(kind Kind, s socket.Setting) bool {
	if s.Option.Is(socket.Interface) {
		return true // loopback is another
	}
	taken, lost := true, false
	client := kind.dialer()
	client.Control = func(_, _ string, raw syscall.RawConn) error {
		taken = taken && setAll(socket.RawSocket{RawConn: raw}, s) == nil
		return nil
	}
	_ = connected(client, loopback, func(_, dialed *net.TCPConn) {
		lost, _ = changes(dialed, s) // an error is that it is no longer possible
	})
	return taken && !lost
}
