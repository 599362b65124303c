//go:build !linux

package socket

import (
	"errors"
	"syscall"
)

const leastQUICBuffer = quicBuffer

// Drops can be read on Linux only.
type Drops struct{}

// Of always fails with errors.ErrUnsupported.
func (*Drops) Of(syscall.Conn) (uint32, error) { return 0, errors.ErrUnsupported }

// Cookie always fails with errors.ErrUnsupported.
func Cookie(syscall.Conn) (uint64, error) { return 0, errors.ErrUnsupported }

// AcceptQueue always fails with errors.ErrUnsupported.
func AcceptQueue(syscall.Conn) (connections, limit int, err error) {
	return 0, 0, errors.ErrUnsupported
}

// AddTrafficClass does nothing: elsewhere there is no such option.
func AddTrafficClass([]byte, byte) {}
