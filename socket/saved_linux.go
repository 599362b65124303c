package socket

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Options changes the options of one socket and puts them back. Its methods
// allocate nothing. One goroutine at a time may call them.
//
// Their errors are net.ErrClosed, an *os.SyscallError, or errors.ErrUnsupported
// where this system lacks the option.
type Options struct {
	raw  syscall.RawConn
	step func(fd uintptr) // do as a value: made for each call it would be an allocation

	// The arguments and results of a step.
	task   task
	option Option
	saved  Saved
	err    error
}

type task uint8

const (
	saving task = iota
	setting
	restoring
)

// NewOptions returns the options of the socket of c.
//
// Errors: those of c.SyscallConn.
func NewOptions(c syscall.Conn) (*Options, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	o := &Options{raw: raw}
	o.step = o.do
	return o, nil
}

// Save reads what the socket has of an option.
func (o *Options) Save(option Option) (Saved, error) {
	err := o.run(saving, option, Saved{})
	return o.saved, err
}

// Set sets an option.
func (o *Options) Set(s Setting) error { return o.run(setting, s.Option, Saved{Value: s.Value}) }

// Restore gives the socket what was saved of an option. The kernel tunes again what
// it tuned before.
func (o *Options) Restore(option Option, saved Saved) error { return o.run(restoring, option, saved) }

func (o *Options) run(t task, option Option, saved Saved) error {
	o.task, o.option, o.saved, o.err = t, option, saved, nil
	if err := controlRaw(o.raw, o.step); err != nil {
		return err
	}
	return o.err
}

func (o *Options) do(descriptor uintptr) {
	fd, lock := int(descriptor), o.option.lock
	switch o.task {
	case saving:
		o.saved.Value, o.err = o.option.get(fd)
		o.saved.Fixed = lock == 0 || locked(fd)&lock != 0
	case setting:
		o.err = o.option.set(fd, o.saved.Value)
	case restoring:
		value := o.saved.Value
		if lock != 0 {
			value.Number /= 2 // the kernel doubles it again
		}
		if o.err = o.option.set(fd, value); o.err != nil || lock == 0 || o.saved.Fixed {
			return
		}
		o.err = os.NewSyscallError("setsockopt",
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, locked(fd)&^lock))
	}
}

// Tuned reports whether the kernel may change the value by itself.
func (o Option) Tuned() bool { return o.lock != 0 || o.number == WindowClamp.number }

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
