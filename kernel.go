package sockopt

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// sysctl returns the value of a kernel parameter such as net.core.rmem_max, and
// nothing where this system has none of that name.
func sysctl(name string) string {
	if name == "" {
		return ""
	}
	value, err := os.ReadFile(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(value))
}

// capabilityBits are the numbers of capabilities in the kernel's
// include/uapi/linux/capability.h.
var capabilityBits = map[string]uint{"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}

// withoutServerFastOpen says why TCP_FASTOPEN on a listening socket does nothing.
func withoutServerFastOpen(queue socket.Value, _ []socket.Setting) string {
	const name, server = "net.ipv4.tcp_fastopen", 2 // TFO_SERVER_ENABLE in the kernel's include/net/tcp.h
	bits, err := strconv.ParseInt(sysctl(name), 0, 64)
	if err != nil || queue.Number == 0 || bits&server != 0 {
		return ""
	}
	return fmt.Sprintf("%s is %d: set it to %d", name, bits, bits|server)
}

// setAnew returns what says why a value of o does not last: that this kernel sets
// another one as bytes arrive, which is tried, and what to do instead.
func setAnew(o socket.Option, instead string) func(socket.Value, []socket.Setting) string {
	return func(v socket.Value, before []socket.Setting) string {
		now, err := socket.Later(append(slices.Clip(before), socket.Setting{Option: o, Value: v}), o)
		if err != nil || now == v {
			return ""
		}
		return "this kernel sets it anew as bytes arrive; " + instead
	}
}

// holds reports whether this process has a capability, or one of those that are
// named with "or": CAP_NET_RAW as well as CAP_NET_ADMIN, since Linux 5.17.
func holds(capabilities string) bool {
	// proc_pid_status(5)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if set, ok := strings.CutPrefix(line, "CapEff:"); ok {
			held, err := strconv.ParseUint(strings.TrimSpace(set), 16, 64)
			return err == nil && slices.ContainsFunc(strings.Split(capabilities, " or "), func(name string) bool {
				return held>>capabilityBits[name]&1 != 0 && (name != "CAP_NET_RAW" || kernelHas("5.17"))
			})
		}
	}
	return false
}

// kernelHas reports whether the running kernel is of this version or a later one.
func kernelHas(since string) bool {
	return compareVersions(socket.KernelRelease(), since) >= 0
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
	// What does not parse stays 0.
	_, _ = fmt.Sscanf(version, "%d.%d.%d", &numbers[0], &numbers[1], &numbers[2])
	return numbers
}
