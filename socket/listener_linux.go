package socket

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// SpeaksMPTCP reports whether the socket of c is an MPTCP socket.
func SpeaksMPTCP(c syscall.Conn) bool {
	var protocol int
	err := control(c, func(fd int) {
		protocol, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	})
	return err == nil && protocol == unix.IPPROTO_MPTCP
}

// Queued returns how many connections wait for Accept at the listening socket of c.
//
// Errors: net.ErrClosed, or an *os.SyscallError.
func Queued(c syscall.Conn) (connections int, err error) {
	ctlErr := control(c, func(fd int) {
		var info *unix.TCPInfo
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			// tcp_get_info in the kernel's net/ipv4/tcp.c
			connections = int(info.Unacked)
		}
	})
	if ctlErr != nil {
		return 0, ctlErr
	}
	return connections, os.NewSyscallError("getsockopt", err)
}
