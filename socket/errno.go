package socket

import (
	"errors"
	"syscall"
)

// ErrnoName returns the kernel's name of the error inside err, such as
// ENOPROTOOPT, or the error's text where there is no such name.
func ErrnoName(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		if name := errnoName(errno); name != "" {
			return name
		}
	}
	return err.Error()
}
