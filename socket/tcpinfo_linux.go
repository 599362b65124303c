package socket

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Info reads what the kernel counts and measures about c: TCP_INFO, in the words
// of tcp_info in the kernel's include/uapi/linux/tcp.h. A kernel older than a
// field leaves it 0.
//
// Errors: net.ErrClosed, or an *os.SyscallError.
func Info(c syscall.Conn) (info *unix.TCPInfo, err error) {
	ctlErr := control(c, func(fd int) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	switch {
	case ctlErr != nil:
		return nil, ctlErr
	case err != nil:
		return nil, os.NewSyscallError("getsockopt", err)
	}
	return info, nil
}
