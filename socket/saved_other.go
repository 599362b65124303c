//go:build !linux

package socket

import (
	"errors"
	"syscall"
)

// Options is Linux's alone.
type Options struct{}

// NewOptions always fails with errors.ErrUnsupported.
func NewOptions(syscall.Conn) (*Options, error) { return nil, errors.ErrUnsupported }

// Save always fails with errors.ErrUnsupported.
func (*Options) Save(Option) (s Saved, err error) { return s, errors.ErrUnsupported }

// Set always fails with errors.ErrUnsupported.
func (*Options) Set(Setting) error { return errors.ErrUnsupported }

// Restore always fails with errors.ErrUnsupported.
func (*Options) Restore(Option, Saved) error { return errors.ErrUnsupported }

// Tuned reports whether the kernel may change the value by itself; nobody asks here.
func (o Option) Tuned() bool { return false }
