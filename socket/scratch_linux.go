package socket

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Try sets s on a scratch socket, which is neither bound nor connected, and
// returns the effective value. The socket is of the kind that accepted and
// dialed connections are or, with listening, of the kind that a listener is: Go
// listens with MPTCP where the system has it.
//
// Errors: what the kernel answered, as an *os.SyscallError.
func Try(listening bool, s Setting) (effective int, err error) {
	fd, err := scratch(listening)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := s.Option.set(fd, s.Value); err != nil {
		return 0, err
	}
	return s.Option.get(fd)
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
