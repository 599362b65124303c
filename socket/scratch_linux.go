package socket

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Try sets s on a scratch socket and returns the effective value. The socket is
// an accepted connection over loopback, because a kernel refuses some options once
// a socket is connected, or with listening a listener as Go opens it: with MPTCP
// where the system has it, and listening on loopback, because an MPTCP socket checks
// some values no sooner. Where loopback does not connect, it tries an unconnected
// socket in place of the connection. For an option that can be set but not read, such as
// SO_RCVBUFFORCE, it returns the value that was set.
//
// Errors: what the kernel answered to setting it, as an *os.SyscallError.
func Try(listening bool, s Setting) (effective Value, err error) {
	fd, closeAll, err := tried(listening)
	if err != nil {
		return Value{}, err
	}
	defer closeAll()
	return s.tryOn(fd)
}

// tryOn sets s and reads it.
func (s Setting) tryOn(fd int) (effective Value, err error) {
	if err := s.Option.set(fd, s.Value); err != nil {
		return Value{}, err
	}
	return s.read(fd)
}

// read returns the effective value, or where it cannot be read, the one that was set.
func (s Setting) read(fd int) (effective Value, err error) {
	effective, err = s.Option.get(fd)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return s.Value, nil
	}
	return effective, err
}

// TryPlain sets s on a scratch socket of TCP, whether Go listens with MPTCP or not.
//
// Errors: as Try.
func TryPlain(listening bool, s Setting) error {
	fd, err := openAs([]int{unix.IPPROTO_TCP})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if listening {
		if err := listenOnLoopback(fd); err != nil {
			return err
		}
	}
	return s.Option.set(fd, s.Value)
}

// tried is the socket on which Try tries.
func tried(listening bool) (fd int, closeAll func(), err error) {
	if !listening {
		if accepted, peer, err := connection(); err == nil {
			return accepted, func() { hangUp(accepted, peer) }, nil
		}
	}
	fd, err = scratch(listening)
	return fd, func() { _ = unix.Close(fd) }, err
}

// Later sets settings in order on an accepted connection over loopback, sends it
// bytes, and returns the value that o has afterwards: the kernel changes some options
// by itself.
//
// Errors: *os.SyscallError, also where loopback does not connect.
func Later(settings []Setting, o Option) (Value, error) {
	accepted, peer, err := connection()
	if err != nil {
		return Value{}, err
	}
	defer hangUp(accepted, peer)
	for _, s := range settings {
		if err := s.Option.set(accepted, s.Value); err != nil {
			return Value{}, err
		}
	}
	// As large as the segments of a download, and fewer than fill the first window.
	segment := make([]byte, 8<<10)
	for range 4 {
		if _, err := unix.Write(peer, segment); err != nil {
			return Value{}, os.NewSyscallError("write", err)
		}
		if err := readable(accepted, loopbackPatience); err != nil {
			return Value{}, err
		}
		if _, err := unix.Read(accepted, segment); err != nil {
			return Value{}, os.NewSyscallError("read", err)
		}
	}
	return o.get(accepted)
}

// connection returns both ends of a connection over loopback, like one that Go's
// listener accepted from a client without MPTCP.
func connection() (accepted, peer int, err error) {
	listener, err := scratch(true)
	if err != nil {
		return -1, -1, err
	}
	defer unix.Close(listener)
	address, err := unix.Getsockname(listener)
	if err != nil {
		return -1, -1, os.NewSyscallError("getsockname", err)
	}
	if v6, ok := address.(*unix.SockaddrInet6); ok {
		address = &unix.SockaddrInet4{Port: v6.Port, Addr: [4]byte(v6.Addr[12:])}
	}
	return connectTo(listener, unix.AF_INET, address)
}

// connectTo connects to a listening socket and returns both ends.
func connectTo(listener, family int, address unix.Sockaddr) (accepted, peer int, err error) {
	peer, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return -1, -1, os.NewSyscallError("socket", err)
	}
	if err = unix.Connect(peer, address); err == nil || err == unix.EINPROGRESS {
		err = readable(listener, loopbackPatience)
	}
	if err == nil {
		accepted, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	}
	if err != nil {
		_ = unix.Close(peer)
		return -1, -1, os.NewSyscallError("connect", err)
	}
	return accepted, peer, nil
}

// loopbackPatience bounds the wait for what loopback delivers at once.
const loopbackPatience = time.Second

// readable waits until there is something to read or to accept.
func readable(fd int, patience time.Duration) error {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, max(0, int(patience.Milliseconds()))) //nolint:gosec // a descriptor is an int
		switch {
		case err == unix.EINTR:
		case err == nil && n == 0:
			return os.NewSyscallError("poll", unix.ETIMEDOUT)
		default:
			return os.NewSyscallError("poll", err)
		}
	}
}

// hangUp resets a connection, so that SO_LINGER does not make close wait and TIME_WAIT
// does not keep the port.
func hangUp(accepted, peer int) {
	_ = unix.SetsockoptLinger(peer, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(peer)
	_ = unix.Close(accepted)
}

// Default returns the value that the option has on a new socket.
//
// Errors: what the kernel answered, as an *os.SyscallError.
func Default(listening bool, o Option) (Value, error) {
	fd, err := scratch(listening)
	if err != nil {
		return Value{}, err
	}
	defer unix.Close(fd)
	return o.get(fd)
}

func scratch(listening bool) (fd int, err error) {
	fd, err = open(listening)
	if err != nil || !listening {
		return fd, err
	}
	if err := listenOnLoopback(fd); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// open opens a socket as Go would.
func open(listening bool) (fd int, err error) {
	return openFor(listening && new(net.ListenConfig).MultipathTCP())
}

// openFor opens a socket as Go would, with MPTCP where the system has it.
func openFor(multipath bool) (fd int, err error) {
	protocols := []int{unix.IPPROTO_TCP}
	if multipath {
		protocols = []int{unix.IPPROTO_MPTCP, unix.IPPROTO_TCP}
	}
	return openAs(protocols)
}

// openAs opens a socket of the first protocol that the system has.
func openAs(protocols []int) (fd int, err error) {
	for _, protocol := range protocols {
		for _, family := range []int{unix.AF_INET6, unix.AF_INET} {
			fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol)
			if err == nil {
				return fd, nil
			}
		}
	}
	return -1, os.NewSyscallError("socket", err)
}

// listenOnLoopback binds to an IPv4 address also where the socket is of IPv6: the
// system may have such sockets, and no IPv6 address.
func listenOnLoopback(fd int) error {
	loopback := [4]byte{127, 0, 0, 1}
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	var address unix.Sockaddr = &unix.SockaddrInet4{Addr: loopback}
	if family == unix.AF_INET6 {
		address = &unix.SockaddrInet6{Addr: netip.AddrFrom4(loopback).As16()}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, address); err != nil {
		return os.NewSyscallError("bind", err)
	}
	return os.NewSyscallError("listen", unix.Listen(fd, unix.SOMAXCONN))
}
