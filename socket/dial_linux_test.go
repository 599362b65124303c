package socket

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// samples has a value of each option of a dialed connection that a plain socket does not
// have, in the order of options/options.go.
var samples = []Setting{
	to(NoDelay, 0), to(QuickAck, 0), to(NotSentLowat, 128<<10), to(RecvBuffer, 1<<20), to(SendBuffer, 1<<20),
	{Congestion, Value{Text: "reno"}},
	to(WindowClamp, 64<<10), to(MaxSegment, 1200), to(ThinStream, 1),
	to(KeepAlive, 0), to(KeepAliveIdle, 30), to(KeepAliveInterval, 10), to(KeepAliveCount, 3), to(UserTimeout, 20_000),
	to(FinTimeout, 15), to(TrafficClass, 46<<2), to(Priority, 3), to(TTL, 50),
	{Interface, Value{Text: "lo"}},
	to(SynCount, 2),
}

func named(settings []Setting) (names []string) {
	for _, s := range settings {
		names = append(names, s.Option.Name)
	}
	return names
}

// TestBeforeSYN: all but what Go sets itself afterwards.
func TestBeforeSYN(t *testing.T) {
	before, after := BeforeSYN(false, samples)
	require.Equal(t, []string{
		"TCP_NODELAY", "TCP_QUICKACK", "TCP_CONGESTION",
		"SO_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT",
	}, named(after))
	require.Equal(t, []string{
		"TCP_NOTSENT_LOWAT", "SO_RCVBUF", "SO_SNDBUF", "TCP_CONGESTION", "TCP_WINDOW_CLAMP", "TCP_MAXSEG",
		"TCP_THIN_LINEAR_TIMEOUTS", "TCP_USER_TIMEOUT", "TCP_LINGER2", "IP_TOS, IPV6_TCLASS", "SO_PRIORITY",
		"IP_TTL, IPV6_UNICAST_HOPS", "SO_BINDTODEVICE", "TCP_SYNCNT",
	}, named(before))

	none, later := BeforeSYN(false, nil)
	require.Empty(t, none)
	require.Empty(t, later)
}

// TestBeforeSYNWithoutLoopback: an interface or a mark comes in time though it could not
// be tried.
func TestBeforeSYNWithoutLoopback(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		before, after := BeforeSYN(false, []Setting{to(NoDelay, 0), to(Mark, 42), {Interface, Value{Text: "lo"}}})
		require.Equal(t, []string{"SO_MARK", "SO_BINDTODEVICE"}, named(before))
		require.Equal(t, []string{"TCP_NODELAY"}, named(after))
	})
}

// TestBeforeSYNOverMPTCP: what MPTCP sockets refuse before the SYN is tried again after
// it, because a connection that falls back to TCP takes it.
func TestBeforeSYNOverMPTCP(t *testing.T) {
	if !SpeaksMPTCP(listen(t)) {
		t.Skip("no MPTCP here")
	}
	before, after := BeforeSYN(true, []Setting{to(UserTimeout, 20_000), to(RecvBuffer, 1<<20), to(Multipath, 1)})
	require.Equal(t, []string{"TCP_USER_TIMEOUT"}, named(after))
	require.Equal(t, []string{"SO_RCVBUF", "IPPROTO_MPTCP"}, named(before))
}

func TestTryDial(t *testing.T) {
	for _, test := range []struct {
		name string
		s    Setting
		want Value
	}{
		{"before the SYN", to(MaxSegment, 1200), Value{Number: 1200}},
		{"only before the SYN", to(Raw(unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT), 1), Value{Number: 1}},
		{"afterwards", to(NoDelay, 0), Value{}},
		{"doubled", to(RecvBuffer, 64<<10), Value{Number: 128 << 10}},
		{"a name", Setting{Interface, Value{Text: "lo"}}, Value{Text: "lo"}},
		{"no MPTCP", to(Multipath, 0), Value{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			effective, err := TryDial(false, test.s)
			require.NoError(t, err)
			require.Equal(t, test.want, effective)
		})
	}
	_, err := TryDial(false, to(Raw(unix.IPPROTO_TCP, 1000), 1))
	require.ErrorIs(t, err, unix.ENOPROTOOPT)
	_, err = TryDial(false, Setting{Interface, Value{Text: "none0"}})
	require.ErrorIs(t, err, unix.ENODEV)
	_, err = TryDial(false, to(Multipath, 1))
	require.ErrorIs(t, err, unix.EPROTONOSUPPORT)
}

// TestInterfaceIsNotThatOfQueuedConnections: those were there before the listening socket
// was bound.
func TestInterfaceIsNotThatOfQueuedConnections(t *testing.T) {
	ln := listen(t)
	_, queued := dialOnly(t, ln)
	require.Empty(t, refusals(t, ln, []Setting{{Interface, Value{Text: "lo"}}}))
	accepted, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { accepted.Close() })
	require.Equal(t, queued, accepted.RemoteAddr().String())
	requireEffective(t, accepted.(*net.TCPConn), Setting{Interface, Value{}})

	later, _ := connect(t, ln, net.Dialer{})
	requireEffective(t, later, Setting{Interface, Value{Text: "lo"}})
}

// dialOnly returns a connection that waits for Accept, and its address.
func dialOnly(t *testing.T, ln net.Listener) (conn net.Conn, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn, conn.LocalAddr().String()
}
