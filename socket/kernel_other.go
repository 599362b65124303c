//go:build !linux

package socket

import "syscall"

// KernelRelease returns nothing: no option's presence depends on it.
func KernelRelease() string { return "" }

func errnoName(syscall.Errno) string { return "" }
