package socket

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// decidedPerConnection are the options that an accepted connection may have from its
// client, its route or a sysctl, whatever the listening socket has. One trial says nothing
// about other connections.
var decidedPerConnection = []Option{
	TrafficClass, // net.ipv4.tcp_reflect_tos
	Priority,     // which follows from it
	Mark,         // net.ipv4.tcp_fwmark_accept
	Congestion,   // the route's congctl (tcp_ca_openreq_child in net/ipv4/tcp_minisocks.c)
	WindowClamp,  // the route's window (tcp_openreq_init_rwin, there)
}

// Inherited returns those of settings that accepted connections have without being
// set, from Go or, where onListener says that they are set on the listening socket,
// from the kernel. It tries them on scratch listeners, opened with config as the real
// one is, with a connection over IPv4 and one over IPv6 where the system has it, and,
// where Go listens with MPTCP, with clients that speak MPTCP.
//
// Errors: those of opening sockets on loopback.
func Inherited(config net.ListenConfig, settings []Setting, onListener bool) ([]Setting, error) {
	inherited := slices.DeleteFunc(slices.Clone(settings), func(s Setting) bool {
		// A buffer that the listening socket was not given is the kernel's to tune, also where
		// it happens to be as large.
		return includes(decidedPerConnection, s.Option) || !onListener && s.Option.lock != 0
	})
	for i, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		still, err := inheritedAt(config, address, inherited, onListener)
		if failed, ok := errors.AsType[*net.OpError](err); ok && failed.Op == "listen" && i > 0 {
			break // no IPv6 here
		}
		if err != nil {
			return nil, err
		}
		inherited = still
	}
	return inherited, nil
}

func includes(options []Option, o Option) bool { return slices.ContainsFunc(options, o.Is) }

func inheritedAt(config net.ListenConfig, address string, settings []Setting, onListener bool) ([]Setting, error) {
	ln, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	tcp := ln.(*net.TCPListener) //nolint:forcetypeassert // the network is tcp
	if onListener {
		if _, err := set(tcp, settings); err != nil {
			return nil, err
		}
	}
	clients := []bool{false} // whether they speak MPTCP
	if SpeaksMPTCP(tcp) {
		clients = append(clients, true)
	}
	var client net.Dialer
	for _, multipath := range clients {
		client.SetMultipathTCP(multipath)
		accepted, peer, err := dialed(client, tcp)
		if err != nil {
			return nil, err
		}
		settings = had(accepted, settings)
		abort(accepted, peer)
	}
	return settings, nil
}

// dialed returns both ends of a connection to a listener on loopback.
func dialed(client net.Dialer, ln *net.TCPListener) (accepted, peer net.Conn, err error) {
	deadline := time.Now().Add(loopbackPatience)
	if err := ln.SetDeadline(deadline); err != nil { // an option may make Accept wait for the client's bytes
		return nil, nil, err
	}
	client.Deadline = deadline
	if peer, err = client.Dial("tcp", ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	if accepted, err = ln.Accept(); err != nil {
		_ = peer.Close()
		return nil, nil, err
	}
	return accepted, peer, nil
}

// had returns the settings that a connection already has.
func had(c net.Conn, settings []Setting) (had []Setting) {
	tcp := c.(*net.TCPConn) //nolint:forcetypeassert // the network is tcp
	_ = control(tcp, func(fd int) {
		for _, s := range settings {
			if s.Option.has(fd, s.Value) {
				had = append(had, s)
			}
		}
	})
	return had
}

// has sets the option, and reports whether that changed nothing.
func (o Option) has(fd int, v Value) bool {
	before, err := o.state(fd)
	if err != nil || o.set(fd, v) != nil {
		return false
	}
	after, err := o.state(fd)
	return err == nil && before == after
}

// state is all that setting an option may change: a buffer of the size that it has is no
// longer tuned by the kernel, and an IPv6 socket has a second option.
type state struct {
	value  Value
	locked int
	ipv6   int // 0 where the socket has none
}

func (o Option) state(fd int) (s state, err error) {
	s.value, err = o.get(fd)
	s.locked = locked(fd)
	if o.ipv6 != 0 {
		s.ipv6, _ = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, o.ipv6)
	}
	return s, err
}

// abort resets a connection, so that no SO_LINGER makes Close wait.
func abort(accepted, peer net.Conn) {
	_ = peer.(*net.TCPConn).SetLinger(0) //nolint:forcetypeassert // the network is tcp
	_ = peer.Close()
	_ = accepted.Close()
}
