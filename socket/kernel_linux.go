package socket

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// KernelRelease returns the release of the running kernel, as uname -r prints
// it, or nothing where it cannot be told.
func KernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// errnoName returns the name of an error number in errno(3).
func errnoName(errno syscall.Errno) string { return unix.ErrnoName(errno) }
