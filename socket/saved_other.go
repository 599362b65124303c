//go:build !linux

package socket

import (
	"errors"
	"syscall"
)

// Tuned reports whether the kernel may change the value by itself; nobody asks here.
func (o Option) Tuned() bool { return false }

func save(syscall.Conn, Option) (s Saved, err error) { return s, errors.ErrUnsupported }

func restore(syscall.Conn, Option, Saved) error { return errors.ErrUnsupported }
