package socket

import (
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
