package socket

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestCompareVersions(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int // its sign
	}{
		{"6.15", "6.15", 0},
		{"6.15.0-rc1", "6.15", 0},
		{"6.15.2", "6.15", 1},
		{"6.9", "6.15", -1},
		{"5.10.0-28-amd64", "6.1", -1},
		{"6.18.44-fc-v782", "6.18.3", 1},
		{"10.0", "9.99.99", 1},
		{"2.6.37", "2.6.9", 1},
		{"", "0", 0},
	} {
		t.Run(test.a+" and "+test.b, func(t *testing.T) {
			got := compareVersions(test.a, test.b)
			require.Equal(t, test.want, max(-1, min(1, got)))
			require.Equal(t, -got, compareVersions(test.b, test.a))
		})
	}
}

func TestKernelRelease(t *testing.T) {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	require.NoError(t, err)
	require.Equal(t, strings.TrimSpace(string(release)), KernelRelease())
	require.True(t, KernelHas("2.0"))
	require.True(t, KernelHas(KernelRelease()))
	require.False(t, KernelHas("99.0"))
}

func TestSysctl(t *testing.T) {
	limit, err := os.ReadFile("/proc/sys/net/ipv4/tcp_retries2")
	require.NoError(t, err)
	require.Equal(t, strings.TrimSpace(string(limit)), Sysctl("net.ipv4.tcp_retries2"))
	require.Empty(t, Sysctl("net.ipv4.none_of_these"))
	require.Empty(t, Sysctl("net.ipv4"))
}

// TestHasCapability compares with what /proc says of the thread, with the capabilities of
// this process and without.
func TestHasCapability(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.False(t, HasCapability("CAP_NONE_OF_THESE"))
	requireLikeProc(t)

	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &before[0]))
	without := before
	without[0].Effective &^= 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW
	require.NoError(t, unix.Capset(&header, &without[0]))
	defer func() { require.NoError(t, unix.Capset(&header, &before[0])) }()
	requireLikeProc(t)
	require.False(t, HasCapability("CAP_NET_ADMIN"))
	require.False(t, HasCapability("CAP_NET_RAW"))
}

func requireLikeProc(t *testing.T) {
	t.Helper()
	status, err := os.ReadFile("/proc/thread-self/status")
	require.NoError(t, err)
	_, after, found := strings.Cut(string(status), "CapEff:")
	require.True(t, found)
	mask, err := strconv.ParseUint(strings.Fields(after)[0], 16, 64)
	require.NoError(t, err)
	for name, bit := range capabilities {
		require.Equal(t, mask>>bit&1 != 0, HasCapability(name), name)
	}
}

func TestErrnoName(t *testing.T) {
	require.Equal(t, "ENOPROTOOPT", ErrnoName(os.NewSyscallError("setsockopt", syscall.ENOPROTOOPT)))
	require.Equal(t, "EOPNOTSUPP", ErrnoName(syscall.EOPNOTSUPP))
	require.Equal(t, "file already closed", ErrnoName(os.ErrClosed))
}
