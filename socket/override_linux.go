package socket

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func (*Overrides) set(fd int, s Setting) error { return s.Option.set(fd, s.Value) }

func (o Option) save(fd int) (s saved, err error) {
	s.value, err = o.get(fd)
	s.fixed = o.lock == 0 || locked(fd)&o.lock != 0
	return s, err
}

// restore sets what was saved. The kernel tunes again what it tuned before.
func (o Option) restore(fd int, s saved) error {
	if err := o.set(fd, o.AsSet(s.value)); err != nil || s.fixed {
		return err
	}
	return os.NewSyscallError("setsockopt",
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, locked(fd)&^o.lock))
}

// Tuned reports whether the kernel may change the value by itself.
func (o Option) Tuned() bool { return o.lock != 0 || o.Is(WindowClamp) }

// Bits of SO_BUF_LOCK, from the kernel's include/uapi/linux/socket.h.
const (
	sendLock = 1
	recvLock = 2
)

// locked returns which buffers have a size that was set (SO_BUF_LOCK, Linux 5.14). An
// older kernel does not say; both then count as set.
func locked(fd int) int {
	bits, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	if err != nil {
		return sendLock | recvLock
	}
	return bits
}

// State is all that setting an option may change: beside its value, whether the kernel still
// tunes it, and the second option of an IPv6 socket.
type State struct {
	saved
	ipv6 int // 0 where the socket has none
}

// StateOf reads the state of an option.
//
// Errors: those of Get.
func StateOf(c syscall.Conn, o Option) (s State, err error) {
	err = control(c, func(fd int) (err error) {
		s.saved, err = o.save(fd)
		if o.ipv6 != 0 {
			s.ipv6, _ = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, o.ipv6)
		}
		return err
	})
	return s, err
}
