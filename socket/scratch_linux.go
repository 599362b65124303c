package socket

import (
	"errors"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Try sets s on a scratch socket and returns the effective value. The socket is
// of the kind that accepted and dialed connections are, though not connected, or
// with listening of the kind that a listener is: Go listens with MPTCP where the
// system has it. Such a socket does listen, on a loopback address, because an MPTCP
// socket checks some values no sooner. Of an option that can be set and not read,
// such as SO_RCVBUFFORCE, it returns the value as it is.
//
// Errors: what the kernel answered to setting it, as an *os.SyscallError.
func Try(listening bool, s Setting) (effective Value, err error) {
	fd, err := scratch(listening)
	if err != nil {
		return Value{}, err
	}
	defer unix.Close(fd)
	if err := s.Option.set(fd, s.Value); err != nil {
		return Value{}, err
	}
	effective, err = s.Option.get(fd)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return s.Value, nil
	}
	return effective, err
}

// Default returns the value that the option has when nobody sets it.
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
	protocols := []int{unix.IPPROTO_TCP}
	if listening && new(net.ListenConfig).MultipathTCP() {
		protocols = []int{unix.IPPROTO_MPTCP, unix.IPPROTO_TCP}
	}
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

// listenOnLoopback keeps off the network. Where a socket of IPv6 can be had, there
// need not be an IPv6 address: it takes IPv4's, too.
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
