// Package trial finds out at load what this kernel makes of options, on sockets that nobody else has.
package trial

import (
	"context"
	"errors"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Kind is what a scratch socket stands for.
type Kind uint8

const (
	Unconnected   Kind = iota // a TCP socket that neither listens nor is connected
	Listener                  // a listening socket as Go opens it: with MPTCP where the system has it
	PlainListener             // a listening socket without MPTCP
	Accepted                  // an accepted connection, whose client has no MPTCP
	Dialed                    // a dialed connection
	DialedMPTCP               // a dialed connection, with MPTCP where the system has it
	Datagram                  // a UDP socket
)

// Scratch calls use with a socket of a kind, and closes it. The socket is on loopback, because a kernel refuses some
// options once a socket is connected, and an MPTCP socket checks some values only once it listens. Where loopback
// does not connect, an unconnected socket stands for a connection.
//
// Errors: those of opening the socket, with which use is not called.
func Scratch(kind Kind, use func(c syscall.Conn)) error {
	switch kind {
	case Unconnected, Datagram: // as below
	case Listener, PlainListener:
		var config net.ListenConfig
		config.SetMultipathTCP(kind == Listener && config.MultipathTCP())
		ln, err := listen(config, loopback...)
		if err == nil {
			use(ln)
			_ = ln.Close()
		}
		return err
	case Accepted, Dialed, DialedMPTCP:
		err := connected(kind.dialer(), loopback, func(conn, dialed *net.TCPConn) {
			if kind != Accepted {
				conn = dialed
			}
			use(conn)
		})
		if err == nil {
			return nil
		}
	}
	return unconnected(kind, use)
}

// Try sets s on a scratch socket and returns the effective value. A dialed connection has
// it before the SYN or, where the kernel refuses it there, afterwards. For an option that
// can be set but not read, such as SO_RCVBUFFORCE, the value that was set is returned.
//
// Errors: those of Scratch, or what the kernel answered to setting it, as an *os.SyscallError.
func Try(kind Kind, s socket.Setting) (effective socket.Value, err error) {
	try := func(c syscall.Conn) {
		if err = setAll(c, s); err != nil {
			return
		}
		effective, err = socket.Get(c, s.Option)
		if errors.Is(err, syscall.ENOPROTOOPT) || err == errors.ErrUnsupported {
			effective, err = s.Value, nil
		}
	}
	if (kind == Dialed || kind == DialedMPTCP) && !slices.ContainsFunc(afterHandshake, s.Option.Is) {
		if unconnected(kind, try) == nil && err == nil {
			return effective, nil
		}
	}
	if opened := Scratch(kind, try); opened != nil {
		return socket.Value{}, opened
	}
	return effective, err
}

// Default returns the value that an option has on a new socket.
//
// Errors: those of Scratch and of socket.Get.
func Default(kind Kind, o socket.Option) (value socket.Value, err error) {
	if opened := Scratch(kind, func(c syscall.Conn) { value, err = socket.Get(c, o) }); opened != nil {
		return socket.Value{}, opened
	}
	return value, err
}

// NeedsCapability reports whether this kernel refuses a setting on a connection to a process without capabilities.
func NeedsCapability(s socket.Setting) bool {
	var refused error
	_ = Scratch(Accepted, func(c syscall.Conn) {
		err := socket.WithoutCapabilities(func() { refused = setAll(c, s) })
		refused = errors.Join(refused, err)
	})
	return errors.Is(refused, syscall.EPERM)
}

// setAll sets settings and returns the first error.
func setAll(c syscall.Conn, settings ...socket.Setting) error {
	refused, err := socket.Set(c, settings)
	if len(refused) > 0 {
		return refused[0].Err
	}
	return err
}

// Where scratch sockets listen. A system may lack one of them.
const (
	ipv4 = "127.0.0.1:0"
	ipv6 = "[::1]:0"
)

// loopback has both: where either will do.
var loopback = []string{ipv6, ipv4}

// listen opens a listening socket at the first of addresses that the system has.
func listen(config net.ListenConfig, addresses ...string) (ln *net.TCPListener, err error) {
	for _, address := range addresses {
		var opened net.Listener
		if opened, err = config.Listen(context.Background(), "tcp", address); err == nil {
			return opened.(*net.TCPListener), nil //nolint:forcetypeassert // the network is tcp
		}
	}
	return nil, err
}

// connected calls use with both ends of a connection to the first of addresses that the system has.
func connected(client net.Dialer, addresses []string, use func(accepted, dialed *net.TCPConn)) error {
	ln, err := listen(net.ListenConfig{}, addresses...)
	if err != nil {
		return err
	}
	defer ln.Close()
	return connectTo(ln, client, use)
}

// connectTo calls use with both ends of a connection to a listening socket, and resets it.
func connectTo(ln *net.TCPListener, client net.Dialer, use func(accepted, dialed *net.TCPConn)) error {
	client.Deadline = time.Now().Add(time.Second) // loopback connects at once
	_ = ln.SetDeadline(client.Deadline)           // an option may make Accept wait for the client's bytes
	dialed, err := client.Dial("tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	peer := dialed.(*net.TCPConn) //nolint:forcetypeassert // the network is tcp
	accepted, err := ln.AcceptTCP()
	if err == nil {
		use(accepted, peer)
		defer accepted.Close()
	}
	// A reset, so that SO_LINGER does not make Close wait and TIME_WAIT does not keep the port.
	_ = peer.SetLinger(0)
	_ = peer.Close()
	return err
}

// dialer returns what dials connections of a kind.
func (k Kind) dialer() (d net.Dialer) {
	d.SetMultipathTCP(k == DialedMPTCP)
	return d
}

// unconnected calls use with a socket before it is bound or connected.
func unconnected(kind Kind, use func(c syscall.Conn)) (err error) {
	used := false
	d := kind.dialer()
	d.Control = func(_, _ string, raw syscall.RawConn) error {
		if !used { // Go dials without MPTCP after it dialed with it
			used = true
			use(socket.RawSocket{RawConn: raw})
		}
		return net.ErrClosed
	}
	network := "tcp"
	if kind == Datagram {
		network = "udp"
	}
	for _, address := range loopback {
		if _, err = d.Dial(network, address); used {
			return nil
		}
	}
	return err
}
