package socket

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Try sets s on a scratch socket and returns the effective value. The socket is
// of the kind that accepted and dialed connections are or, with listening, of the
// kind that a listener is: Go listens with MPTCP where the system has it. It is
// not connected, and bound, to a loopback address, only where it must be.
//
// Errors: what the kernel answered, as an *os.SyscallError.
func Try(listening bool, s Setting) (effective Value, err error) {
	fd, err := scratch(listening)
	if err != nil {
		return Value{}, err
	}
	defer unix.Close(fd)
	if s.Option.form == backlog {
		if err := bindLoopback(fd); err != nil {
			return Value{}, err
		}
	}
	if err := s.Option.set(fd, s.Value); err != nil {
		return Value{}, err
	}
	return s.Option.get(fd)
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

// bindLoopback keeps a socket that will listen off the network: an unbound one
// would listen on every address.
func bindLoopback(fd int) error {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	var loopback unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if family == unix.AF_INET6 {
		loopback = &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	}
	return os.NewSyscallError("bind", unix.Bind(fd, loopback))
}
