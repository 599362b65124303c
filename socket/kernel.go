package socket

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// KernelHas reports whether the running kernel is of this version or a later one.
func KernelHas(since string) bool { return compareVersions(KernelRelease(), since) >= 0 }

// compareVersions compares the dotted numbers that two versions begin with:
// 6.15.0-rc1 and 6.15 are equal.
func compareVersions(a, b string) int {
	var x, y [3]int // a part that does not parse stays 0
	_, _ = fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2])
	_, _ = fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2])
	return slices.Compare(x[:], y[:])
}

// Sysctl returns the value of a kernel parameter such as net.core.rmem_max, or nothing where this system has no
// parameter of that name. Of several values each is behind one space.
func Sysctl(name string) string {
	value, err := os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")))
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(value)), " ")
}

// ErrnoName returns the kernel's name of the error inside err, such as
// ENOPROTOOPT, or the error's text where there is no such name.
func ErrnoName(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		if name := errnoName(errno); name != "" {
			return name
		}
	}
	return err.Error()
}
