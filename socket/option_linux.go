package socket

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// number is where the kernel keeps an option: both arguments of setsockopt(2).
type number struct {
	level, name int
}

// Supported reports whether this system has the option. Whether the running
// kernel takes it too, a Scratch socket tells.
func (o Option) Supported() bool { return o.number != number{} }

func set(c syscall.Conn, settings []Setting, failed func(Setting, error)) error {
	return control(c, func(fd int) {
		for _, s := range settings {
			if err := s.Option.set(fd, s.Value); err != nil {
				failed(s, err)
			}
		}
	})
}

func get(c syscall.Conn, o Option) (value int, err error) {
	if ctlErr := control(c, func(fd int) { value, err = o.get(fd) }); ctlErr != nil {
		return 0, ctlErr
	}
	return value, err
}

func (o Option) set(fd, value int) error {
	if !o.Supported() {
		return errors.ErrUnsupported
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, o.level, o.name, value))
}

func (o Option) get(fd int) (int, error) {
	if !o.Supported() {
		return 0, errors.ErrUnsupported
	}
	value, err := unix.GetsockoptInt(fd, o.level, o.name)
	return value, os.NewSyscallError("getsockopt", err)
}

// control runs f on the descriptor of c.
func control(c syscall.Conn, f func(fd int)) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	err = raw.Control(func(fd uintptr) { f(int(fd)) })
	if opErr, ok := errors.AsType[*net.OpError](err); ok {
		return opErr.Err
	}
	return err
}
