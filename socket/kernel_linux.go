package socket

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// KernelRelease returns the release of the running kernel, as uname -r prints
// it, or nothing where it cannot be read.
func KernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// KernelHas reports whether the running kernel is of this version or a later one.
func KernelHas(since string) bool {
	return compareVersions(KernelRelease(), since) >= 0
}

// compareVersions compares the dotted numbers that two versions begin with:
// 6.15.0-rc1 and 6.15 are equal.
func compareVersions(a, b string) int {
	x, y := versionNumbers(a), versionNumbers(b)
	for i := range x {
		if x[i] != y[i] {
			return x[i] - y[i]
		}
	}
	return 0
}

func versionNumbers(version string) (numbers [3]int) {
	// A part that does not parse stays 0.
	_, _ = fmt.Sscanf(version, "%d.%d.%d", &numbers[0], &numbers[1], &numbers[2])
	return numbers
}

// Sysctl returns the value of a kernel parameter such as net.core.rmem_max, or
// nothing where this system has no parameter of that name. Of several values each is
// behind one space.
func Sysctl(name string) string {
	value, err := os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")))
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(value)), " ")
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
