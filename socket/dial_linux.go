package socket

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// afterHandshake are the options that are set on an open connection, though the kernel
// takes them sooner.
var afterHandshake = []Option{
	// Go sets them itself, on an open connection (newTCPConn in net/tcpsock.go).
	NoDelay, KeepAlive, KeepAliveIdle, KeepAliveInterval, KeepAliveCount,

	// Off, it would also delay the acknowledgement that ends the handshake
	// (tcp_rcv_synsent_state_process in the kernel's net/ipv4/tcp_input.c).
	QuickAck,
}

// decidedByRoute are the options that a route may replace as the connection is made
// (tcp_ca_dst_init in the kernel's net/ipv4/tcp_output.c): they are set twice. What they
// put into the SYN, ECN for dctcp, needs the first time.
var decidedByRoute = []Option{Congestion}

// BeforeSYN splits settings for connections that Go dials: into those to set before the
// SYN, and those to set on the open connection. It tries them all on one connection over
// loopback: before the SYN goes what the kernel takes there, and what setting it again
// later would not change. Where loopback does not connect, that is all that is not known
// to come later.
func BeforeSYN(multipath bool, settings []Setting) (before, after []Setting) {
	early := make([]bool, len(settings))
	for i, s := range settings {
		early[i] = !includes(afterHandshake, s.Option)
	}
	conn, hangUp, err := dialLoopback(multipath, func(fd int) {
		for i, s := range settings {
			early[i] = early[i] && (s.Option.Is(Interface) || s.Option.set(fd, s.Value) == nil)
		}
	})
	if err == nil {
		_ = control(conn, func(fd int) {
			was := make([]state, len(settings)) // of all first: on Linux 7.3 SO_RCVBUF changes TCP_WINDOW_CLAMP
			for i, s := range settings {
				if early[i] && !s.Option.Is(Interface) {
					was[i], err = s.Option.state(fd)
					early[i] = err == nil
				}
			}
			for i, s := range settings {
				early[i] = early[i] && (s.Option.Is(Interface) || s.Option.stays(fd, s.Value, was[i]))
			}
		})
		hangUp()
	}
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

// stays reports whether setting a value again leaves an option as it was, or is no longer
// possible.
func (o Option) stays(fd int, v Value, was state) bool {
	if o.set(fd, v) != nil {
		return true
	}
	now, err := o.state(fd)
	return err == nil && now == was
}

// TryDial sets s on a socket that Go would dial with, and returns the effective value:
// before it is connected, or where the kernel refuses it there, on a connection over
// loopback.
//
// Errors: what the kernel answered to setting it, as an *os.SyscallError.
func TryDial(multipath bool, s Setting) (effective Value, err error) {
	if !includes(afterHandshake, s.Option) {
		fd, err := openFor(multipath)
		if err != nil {
			return Value{}, err
		}
		effective, err = s.tryOn(fd)
		_ = unix.Close(fd)
		if err == nil {
			return effective, nil
		}
	}
	conn, hangUp, err := dialLoopback(multipath, func(int) {})
	if err != nil {
		return Try(false, s)
	}
	defer hangUp()
	if ctlErr := control(conn, func(fd int) { effective, err = s.tryOn(fd) }); ctlErr != nil {
		return Value{}, ctlErr
	}
	return effective, err
}

// dialLoopback returns a connection over loopback that Go dials, once it has called
// before on its socket.
func dialLoopback(multipath bool, before func(fd int)) (conn *net.TCPConn, hangUp func(), err error) {
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	tcp := ln.(*net.TCPListener) //nolint:forcetypeassert // the network is tcp
	client := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { before(int(fd)) })
	}}
	client.SetMultipathTCP(multipath)
	accepted, peer, err := dialed(client, tcp)
	if err != nil {
		return nil, nil, err
	}
	return peer.(*net.TCPConn), func() { abort(accepted, peer) }, nil //nolint:forcetypeassert // the network is tcp
}
