//go:build !linux

package socket

import (
	"errors"
	"net"
)

// Overrides exists on Linux only.
type Overrides struct{}

// NewOverrides always fails with errors.ErrUnsupported.
func NewOverrides(*net.TCPConn) (*Overrides, error) { return nil, errors.ErrUnsupported }

// Hold does nothing.
func (*Overrides) Hold(*Hold) {}

// Release does nothing.
func (*Overrides) Release(*Hold) {}

// ReleaseAll does nothing.
func (*Overrides) ReleaseAll() {}
