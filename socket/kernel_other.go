//go:build !linux

package socket

import (
	"errors"
	"syscall"
)

// KernelRelease returns nothing: no option's presence depends on it.
func KernelRelease() string { return "" }

// KernelHas reports false: versions here are those of Linux.
func KernelHas(string) bool { return false }

// Sysctl returns nothing: the parameters are Linux's.
func Sysctl(string) string { return "" }

// HasCapability reports false: capabilities are Linux's.
func HasCapability(string) bool { return false }

// WithoutCapabilities always fails with errors.ErrUnsupported: capabilities are Linux's.
func WithoutCapabilities(func()) error { return errors.ErrUnsupported }

func errnoName(syscall.Errno) string { return "" }
