package trial

import (
	"net"
	"slices"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// decidedPerConnection are the options that an accepted connection may have from its client, its route or a sysctl,
// whatever the listening socket has. One trial says nothing about other connections.
var decidedPerConnection = []socket.Option{
	socket.TrafficClass, // net.ipv4.tcp_reflect_tos
	socket.Priority,     // which follows from it
	socket.Mark,         // net.ipv4.tcp_fwmark_accept
	socket.Congestion,   // the route's congctl (tcp_ca_openreq_child in net/ipv4/tcp_minisocks.c)
	socket.WindowClamp,  // the route's window (tcp_openreq_init_rwin, there)
}

// Inherited returns those of settings that accepted connections have without being set, from Go or, where onListener
// says that they are set on the listening socket, from the kernel. It tries them on scratch listeners, opened with
// config as the real one is, over IPv4 and, where the system has it, over IPv6, with a client of TCP and one of MPTCP.
//
// Errors: those of opening sockets on loopback.
func Inherited(config net.ListenConfig, settings []socket.Setting, onListener bool) ([]socket.Setting, error) {
	inherited := slices.DeleteFunc(slices.Clone(settings), func(s socket.Setting) bool {
		// What the kernel tunes has the same value at times.
		return slices.ContainsFunc(decidedPerConnection, s.Option.Is) || !onListener && s.Option.Tuned()
	})
	for _, address := range []string{ipv4, ipv6} {
		ln, err := listen(config, address)
		if err != nil && address == ipv6 {
			break
		}
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		if onListener {
			_, _ = socket.Set(ln, inherited) // what is refused is not inherited
		}
		for _, client := range []Kind{Dialed, DialedMPTCP} {
			err := connectTo(ln, client.dialer(), func(accepted, _ *net.TCPConn) {
				inherited = slices.DeleteFunc(inherited, func(s socket.Setting) bool {
					changed, err := changes(accepted, s)
					return changed || err != nil
				})
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return inherited, nil
}

// changes sets s on a connection, and reports whether that has changed it, as far as its state can be read.
//
// Errors: that of the kernel, which refused s.
func changes(c *net.TCPConn, s socket.Setting) (bool, error) {
	before, unread := socket.StateOf(c, s.Option)
	if unread != nil {
		return true, nil
	}
	if err := setAll(c, s); err != nil {
		return false, err
	}
	after, unread := socket.StateOf(c, s.Option)
	return unread != nil || before != after, nil
}
