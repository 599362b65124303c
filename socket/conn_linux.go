package socket

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readOrPeek reads or, without a buffer, counts the bytes that wait and leaves them: with
// MSG_TRUNC the kernel copies nothing (tcp(7)), with MSG_PEEK it keeps them.
func readOrPeek(fd int, buf []byte) (n int, errno syscall.Errno) {
	if len(buf) == 0 {
		waiting, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), 0, peekMax, unix.MSG_PEEK|unix.MSG_TRUNC, 0, 0)
		return int(waiting), errno
	}
	n, err := unix.Read(fd, buf)
	errno, _ = err.(syscall.Errno) //nolint:errorlint // unix.Read returns no other
	return n, errno
}

// peekMax bounds what one splice moves, in bytes: the largest pipe that a
// process may have without privileges (pipe(7)).
const peekMax = 1 << 20

// hasQueued reports whether bytes wait to be read.
func hasQueued(fd int) bool {
	queued, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	return err == nil && queued > 0
}

// delayedAckMax returns TCP_DELACK_MAX_US, or 0 where the socket has none. That is no error of
// Option.get, which would be an allocation for each stall.
func delayedAckMax(fd int) time.Duration {
	us, _ := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, tcpDelackMaxUS)
	return time.Duration(us) * time.Microsecond
}
