package socket

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Tuned reports whether the kernel may change the value by itself.
func (o Option) Tuned() bool { return o.lock != 0 || o.number == WindowClamp.number }

func save(c syscall.Conn, o Option) (s Saved, err error) {
	ctlErr := control(c, func(fd int) {
		s.Value, err = o.get(fd)
		s.Fixed = o.lock == 0 || locked(fd)&o.lock != 0
	})
	if ctlErr != nil {
		return s, ctlErr
	}
	return s, err
}

func restore(c syscall.Conn, o Option, s Saved) (err error) {
	ctlErr := control(c, func(fd int) {
		value := s.Value
		if o.lock != 0 {
			value.Number /= 2 // the kernel doubles it again
		}
		if err = o.set(fd, value); err != nil || o.lock == 0 || s.Fixed {
			return
		}
		err = os.NewSyscallError("setsockopt",
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, locked(fd)&^o.lock))
	})
	if ctlErr != nil {
		return ctlErr
	}
	return err
}

// Bits of SO_BUF_LOCK, from the kernel's include/uapi/linux/socket.h.
const (
	sendLock = 1
	recvLock = 2
)

// locked returns which buffers have a size that somebody has set (SO_BUF_LOCK,
// Linux 5.14). A kernel that does not tell leaves them as they are.
func locked(fd int) int {
	bits, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	if err != nil {
		return sendLock | recvLock
	}
	return bits
}
