package socket

import "golang.org/x/sys/unix"

// KernelRelease returns the release of the running kernel, as uname -r prints
// it, or nothing where it cannot be told.
func KernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}
