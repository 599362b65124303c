package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// listening is a way to open listening sockets.
func listening(multipath bool) (config net.ListenConfig) {
	config.SetMultipathTCP(multipath)
	return config
}

// TestInherited compares what is found for each option with what the kernel and Go do,
// of plain and of MPTCP listeners, whose clients speak either.
func TestInherited(t *testing.T) {
	// Who gives connections the value.
	const (
		nobody   = iota
		listener // listening sockets without MPTCP
		both     // those with MPTCP, too
		golang   // Go, on each connection
	)
	for _, test := range []struct {
		setting Setting
		from    int
	}{
		{to(NoDelay, 1), golang},
		{to(NoDelay, 0), nobody},
		{to(KeepAlive, 1), golang},
		{to(KeepAlive, 0), nobody},
		{to(KeepAliveIdle, 15), golang},
		{to(KeepAliveIdle, 120), nobody},
		{to(KeepAliveInterval, 15), golang},
		{to(KeepAliveInterval, 7), nobody},
		{to(KeepAliveCount, 9), golang},
		{to(KeepAliveCount, 5), nobody},
		{to(RecvBuffer, 64<<10), both},
		{to(SendBuffer, 64<<10), both},
		{to(Cork, 1), both},
		{to(UserTimeout, 30_000), listener},
		{to(FinTimeout, 30), listener},
		{to(ThinStream, 1), listener},
		{to(RTOMin, 60_000), listener},
		{to(RTOMax, 10_000), listener},
		{to(DelayedAckMax, 40_000), listener},
		{to(NotSentLowat, 128<<10), listener},
		{to(BusyPoll, 50), listener},
		{to(PacingRate, 10<<20), listener},
		{to(TTL, 42), listener},
		{to(Linger, 5), both},
		{to(QuickAck, 0), listener},

		// Decided for each connection, whatever the listening socket has.
		{to(Priority, 3), nobody},
		{to(Mark, 42), nobody},
		{to(TrafficClass, 0xb8), nobody},
		{to(WindowClamp, 48<<10), nobody},
		{Setting{Congestion, Value{Text: "reno"}}, nobody},
		{to(bogus, 1), nobody},
	} {
		for _, multipath := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %v, MPTCP %v", test.setting.Option.Name, test.setting.Value, multipath), func(t *testing.T) {
				if multipath {
					mptcpPair(t) // or it is missing
				}
				requireTaken(t, test.setting)
				for _, onListener := range []bool{false, true} {
					var want []Setting
					if test.from == golang || onListener && (test.from == both || test.from == listener && !multipath) {
						want = []Setting{test.setting}
					}
					found, err := Inherited(listening(multipath), []Setting{test.setting}, onListener)
					require.NoError(t, err)
					require.ElementsMatch(t, want, found, "set on the listening socket: %v", onListener)
				}
			})
		}
	}
}

// requireTaken skips the test where this kernel is older than the option. Where this
// process may not set it, that is missing.
func requireTaken(t testing.TB, s Setting) {
	t.Helper()
	_, err := Try(false, s)
	if errors.Is(err, unix.EPERM) {
		lab.Missing(t, fmt.Sprintf("this process may not set %s", s.Option.Name))
	}
	needKernel(t, s.Option, err)
}

// needKernel skips the test where a kernel that refuses an option is older than it. Where
// the kernel is new enough the test goes on, and fails.
func needKernel(t testing.TB, o Option, refusal error) {
	t.Helper()
	const since = "6.15"
	young := slices.ContainsFunc([]Option{RTOMin, RTOMax, DelayedAckMax}, o.Is)
	if young && errors.Is(refusal, unix.ENOPROTOOPT) && !KernelHas(since) {
		t.Skipf("%s needs Linux %s", o.Name, since)
	}
}

// TestInheritedTogether: settings of one option that differ are each set on each
// connection, in their order; the others do not depend on them.
func TestInheritedTogether(t *testing.T) {
	first, last := to(RecvBuffer, 64<<10), to(RecvBuffer, 96<<10)
	other := to(SendBuffer, 64<<10)
	found, err := Inherited(listening(false), []Setting{first, other, to(bogus, 1), last}, true)
	require.NoError(t, err)
	require.Equal(t, []Setting{other}, found)
}

// TestInheritedWithKeepAliveOfTheListener: if Go leaves idle time and count alone,
// connections have the listening socket's.
func TestInheritedWithKeepAliveOfTheListener(t *testing.T) {
	config := listening(false)
	config.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: -1, Interval: 7 * time.Second, Count: -1}
	settings := []Setting{to(KeepAliveIdle, 120), to(KeepAliveInterval, 7), to(KeepAliveCount, 5)}
	found, err := Inherited(config, settings, true)
	require.NoError(t, err)
	require.Equal(t, settings, found)
	found, err = Inherited(config, settings, false)
	require.NoError(t, err)
	require.Equal(t, settings[1:2], found)
}

// TestInheritedEnds: it opens nothing that stays open, and does not wait for a client's
// bytes where the settings make Accept wait for them.
func TestInheritedEnds(t *testing.T) {
	settings := []Setting{to(Linger, 32_767), to(RecvBuffer, 64<<10)}
	_, err := Inherited(listening(true), settings, true) // so that the runtime's poller is there
	require.NoError(t, err)
	before := descriptors(t)
	_, err = Inherited(listening(true), settings, true)
	require.NoError(t, err)
	require.Equal(t, before, descriptors(t))

	began := time.Now()
	_, err = Inherited(listening(false), []Setting{to(DeferAccept, 3600)}, true)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Less(t, time.Since(began), 10*loopbackPatience)
	require.Equal(t, before, descriptors(t))
}

// TestInheritedWithoutIPv6 runs in a network namespace that has none.
func TestInheritedWithoutIPv6(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0))
		loopbackUp(t)
		_, err := net.Listen("tcp", "[::1]:0")
		require.ErrorIs(t, err, unix.EADDRNOTAVAIL)
		setting := to(RecvBuffer, 64<<10)
		found, err := Inherited(listening(true), []Setting{setting, to(Priority, 3)}, true)
		require.NoError(t, err)
		require.Equal(t, []Setting{setting}, found)
	})
}

// inNamespace runs a test in a network namespace of its own.
func inNamespace(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Run("in a network namespace", func(t *testing.T) {
		runtime.LockOSThread() // for good: the thread ends with the test's goroutine, and the namespace with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			lab.Missing(t, fmt.Sprintf("no network namespace: %v", err))
		}
		test(t)
	})
}

// loopbackUp brings up the loopback interface of a new network namespace.
func loopbackUp(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	require.NoError(t, err)
	request.SetUint16(unix.IFF_UP)
	require.NoError(t, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request))
}
