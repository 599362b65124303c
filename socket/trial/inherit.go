package trial

import (
	"net"
	"slices"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// decidedPerConnection are the options that an accepted connection may have from its
// client, its route or a sysctl, whatever the listening socket has. One trial says nothing
// about other connections.
var decidedPerConnection = []socket.Option{
	socket.TrafficClass, // net.ipv4.tcp_reflect_tos
	socket.Priority,     // which follows from it
	socket.Mark,         // net.ipv4.tcp_fwmark_accept
	socket.Congestion,   // the route's congctl (tcp_ca_openreq_child in net/ipv4/tcp_minisocks.c)
	socket.WindowClamp,  // the route's window (tcp_openreq_init_rwin, there)
}

// tuned are the options that the kernel sets by itself where the listening socket was not
// given them, also where they happen to have the same value.
var tuned = []socket.Option{socket.RecvBuffer, socket.SendBuffer}

// Inherited returns those of settings that accepted connections have without being
// set, from Go or, where onListener says that they are set on the listening socket,
// from the kernel. It tries them on scratch listeners, opened with config as the real
// one is, with a connection over IPv4 and one over IPv6 where the system has it, and,
// where Go listens with MPTCP, with clients that speak MPTCP.
//
// Errors: those of opening sockets on loopback.
func Inherited(config net.ListenConfig, settings []socket.Setting, onListener bool) ([]socket.Setting, error) {
	inherited := slices.DeleteFunc(slices.Clone(settings), func(s socket.Setting) bool {
		return includes(decidedPerConnection, s.Option) || !onListener && includes(tuned, s.Option)
	})
	for _, address := range []string{ipv4, ipv6} {
		ln, err := listen(config, address)
		switch {
		case err == nil:
			inherited, err = inheritedFrom(ln, inherited, onListener)
			_ = ln.Close()
		case address == ipv6:
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	return inherited, nil
}

func inheritedFrom(ln *net.TCPListener, settings []socket.Setting, onListener bool) ([]socket.Setting, error) {
	if onListener {
		if _, err := socket.Set(ln, settings); err != nil {
			return nil, err
		}
	}
	clients := []Kind{Dialed}
	if socket.SpeaksMPTCP(ln) {
		clients = append(clients, DialedMPTCP)
	}
	for _, client := range clients {
		err := connectTo(ln, client.dialer(), func(accepted, _ *net.TCPConn) {
			settings = slices.DeleteFunc(settings, func(s socket.Setting) bool { return changes(accepted, s) })
		})
		if err != nil {
			return nil, err
		}
	}
	return settings, nil
}

// changes sets s on a connection, and reports whether the connection was without it.
func changes(c *net.TCPConn, s socket.Setting) bool {
	before, err := socket.StateOf(c, s.Option)
	if err != nil || setAll(c, []socket.Setting{s}) != nil {
		return true
	}
	after, err := socket.StateOf(c, s.Option)
	return err != nil || before != after
}
