package socket

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// KernelRelease returns the release of the running kernel, as uname -r prints it, or nothing where it cannot be read.
func KernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// capabilities are the capabilities that options need.
var capabilities = map[string]uint{"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_NET_RAW": unix.CAP_NET_RAW}

// HasCapability reports whether this process has the capability of that name.
func HasCapability(name string) bool {
	bit, known := capabilities[name]
	var data [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return known && err == nil && data[0].Effective>>bit&1 != 0
}

// WithoutCapabilities calls f while its thread has no capabilities.
//
// Errors: those of capget(2) and capset(2), with which f is not called.
func WithoutCapabilities(f func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had [2]unix.CapUserData
	if err := unix.Capget(&header, &had[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	without := had
	for i := range without {
		without[i].Effective = 0
	}
	if err := unix.Capset(&header, &without[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	f()
	if unix.Capset(&header, &had[0]) != nil {
		runtime.LockOSThread() // it lacks them now: the thread ends with its goroutine
	}
	return nil
}

// errnoName returns the kernel's name of an error number. POSIX has a second one
// for EOPNOTSUPP, which package unix prefers.
func errnoName(errno syscall.Errno) string {
	if errno == unix.EOPNOTSUPP {
		return "EOPNOTSUPP"
	}
	return unix.ErrnoName(errno)
}
