//go:build !linux

package socket

import (
	"errors"
	"syscall"
)

// TCPInfo exists on Linux only: elsewhere it has no figures.
type TCPInfo struct{}

// Info always fails with errors.ErrUnsupported.
func Info(syscall.Conn) (*TCPInfo, error) { return nil, errors.ErrUnsupported }

// Value returns that no figure is known.
func (*TCPInfo) Value(Figure) (value int64, known bool) { return 0, false }
