package trial

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
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// listening is a way to open listening sockets.
func listening(multipath bool) (config net.ListenConfig) {
	config.SetMultipathTCP(multipath)
	return config
}

// listener returns the address of a listening socket as Go opens it with MPTCP.
func listener(t *testing.T) string {
	t.Helper()
	config := listening(true)
	ln, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

// TestInherited compares what is found for each option with what the kernel and Go do,
// of plain and of MPTCP listeners, whose clients speak either.
func TestInherited(t *testing.T) {
	// Who gives connections the value.
	const (
		nobody = iota
		plain  // listening sockets without MPTCP
		both   // those with MPTCP, too
		golang // Go, on each connection
	)
	for _, test := range []struct {
		setting socket.Setting
		from    int
	}{
		{to(socket.NoDelay, 1), golang},
		{to(socket.NoDelay, 0), nobody},
		{to(socket.KeepAlive, 1), golang},
		{to(socket.KeepAlive, 0), nobody},
		{to(socket.KeepAliveIdle, 15), golang},
		{to(socket.KeepAliveIdle, 120), nobody},
		{to(socket.KeepAliveInterval, 15), golang},
		{to(socket.KeepAliveInterval, 7), nobody},
		{to(socket.KeepAliveCount, 9), golang},
		{to(socket.KeepAliveCount, 5), nobody},
		{to(socket.RecvBuffer, 64<<10), both},
		{to(socket.SendBuffer, 64<<10), both},
		{to(socket.Cork, 1), both},
		{to(socket.UserTimeout, 30_000), plain},
		{to(socket.FinTimeout, 30), plain},
		{to(socket.ThinStream, 1), plain},
		{to(socket.RTOMin, 60_000), plain},
		{to(socket.RTOMax, 10_000), plain},
		{to(socket.DelayedAckMax, 40_000), plain},
		{to(socket.NotSentLowat, 128<<10), plain},
		{to(socket.BusyPoll, 50), plain},
		{to(socket.PacingRate, 10<<20), plain},
		{to(socket.TTL, 42), plain},
		{to(socket.Linger, 5), both},
		{to(socket.QuickAck, 0), plain},

		// Decided for each connection, whatever the listening socket has.
		{to(socket.Priority, 3), nobody},
		{to(socket.Mark, 42), nobody},
		{to(socket.TrafficClass, 0xb8), nobody},
		{to(socket.WindowClamp, 48<<10), nobody},
		{socket.Setting{Option: socket.Congestion, Value: socket.Value{Text: "reno"}}, nobody},
		{to(bogus, 1), nobody},
	} {
		for _, multipath := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %v, MPTCP %v", test.setting.Option.Name, test.setting.Value, multipath), func(t *testing.T) {
				if multipath {
					lab.DialMPTCP(t, listener(t)) // or it is missing
				}
				requireTaken(t, test.setting)
				for _, onListener := range []bool{false, true} {
					var want []socket.Setting
					if test.from == golang || onListener && (test.from == both || test.from == plain && !multipath) {
						want = []socket.Setting{test.setting}
					}
					found, err := Inherited(listening(multipath), []socket.Setting{test.setting}, onListener)
					require.NoError(t, err)
					require.ElementsMatch(t, want, found, "set on the listening socket: %v", onListener)
				}
			})
		}
	}
}

// requireTaken skips the test where this kernel is older than the option. Where this
// process may not set it, that is missing.
func requireTaken(t testing.TB, s socket.Setting) {
	t.Helper()
	const since = "6.15"
	young := slices.ContainsFunc([]socket.Option{socket.RTOMin, socket.RTOMax, socket.DelayedAckMax}, s.Option.Is)
	switch _, err := Try(Accepted, s); {
	case errors.Is(err, unix.EPERM):
		lab.Missing(t, fmt.Sprintf("this process may not set %s", s.Option.Name))
	case young && errors.Is(err, unix.ENOPROTOOPT) && !socket.KernelHas(since):
		t.Skipf("%s needs Linux %s", s.Option.Name, since)
	}
}

// TestInheritedTogether: settings of one option that differ are each set on each
// connection, in their order; the others do not depend on them.
func TestInheritedTogether(t *testing.T) {
	first, last := to(socket.RecvBuffer, 64<<10), to(socket.RecvBuffer, 96<<10)
	other := to(socket.SendBuffer, 64<<10)
	found, err := Inherited(listening(false), []socket.Setting{first, other, to(bogus, 1), last}, true)
	require.NoError(t, err)
	require.Equal(t, []socket.Setting{other}, found)
}

// TestInheritedWithKeepAliveOfTheListener: if Go leaves idle time and count alone,
// connections have the listening socket's.
func TestInheritedWithKeepAliveOfTheListener(t *testing.T) {
	config := listening(false)
	config.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: -1, Interval: 7 * time.Second, Count: -1}
	settings := []socket.Setting{to(socket.KeepAliveIdle, 120), to(socket.KeepAliveInterval, 7), to(socket.KeepAliveCount, 5)}
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
	settings := []socket.Setting{to(socket.Linger, 32_767), to(socket.RecvBuffer, 64<<10)}
	_, err := Inherited(listening(true), settings, true) // so that the runtime's poller is there
	require.NoError(t, err)
	before := descriptors(t)
	_, err = Inherited(listening(true), settings, true)
	require.NoError(t, err)
	require.Equal(t, before, descriptors(t))

	began := time.Now()
	_, err = Inherited(listening(false), []socket.Setting{to(socket.DeferAccept, 3600)}, true)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Less(t, time.Since(began), 10*time.Second)
	require.Equal(t, before, descriptors(t))
}

// TestInheritedWithoutIPv6 runs in a network namespace that has none.
func TestInheritedWithoutIPv6(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0))
		loopbackUp(t)
		_, err := net.Listen("tcp", "[::1]:0")
		require.ErrorIs(t, err, unix.EADDRNOTAVAIL)
		setting := to(socket.RecvBuffer, 64<<10)
		found, err := Inherited(listening(true), []socket.Setting{setting, to(socket.Priority, 3)}, true)
		require.NoError(t, err)
		require.Equal(t, []socket.Setting{setting}, found)
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
