package trial

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// bogus is an option that no kernel has.
var bogus = socket.Raw(unix.IPPROTO_TCP, 9999)

// ofIPv6 is what a connection of IPv6 answers, or where loopback has none, one of IPv4.
func ofIPv6(errno syscall.Errno) syscall.Errno {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return syscall.ENOPROTOOPT
	}
	_ = ln.Close()
	return errno
}

// to is the setting of an option to a number.
func to[N int | int64](o socket.Option, number N) socket.Setting {
	return socket.Setting{Option: o, Value: socket.Value{Number: int64(number)}}
}

// descriptors counts the open descriptors of this process.
func descriptors(t testing.TB) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(open)
}

func TestTry(t *testing.T) {
	type try struct {
		name    string
		kind    Kind
		setting socket.Setting
		want    int64
		err     error
	}
	cases := []try{
		{"connection: switch", Accepted, to(socket.NoDelay, 1), 1, nil},
		{"connection: buffer", Accepted, to(socket.RecvBuffer, 64<<10), 128 << 10, nil},
		{"connection: acknowledgements", Accepted, to(socket.QuickAck, 1), 1, nil},
		{"connection: no such option", Accepted, to(bogus, 1), 0, syscall.ENOPROTOOPT},
		{"connection: not on this system", Accepted, to(socket.Option{Name: "SO_ELSEWHERE"}, 1), 0, errors.ErrUnsupported},
		{"connection: not once connected", Accepted, to(socket.FastOpen, 256), 0, syscall.EINVAL},
		{"connection: IPv6 alone, not once connected", Accepted, to(socket.Raw(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY), 1), 0, ofIPv6(syscall.EINVAL)},
		{"connection: linger", Accepted, to(socket.Linger, 32_767), 32_767, nil}, // and close does not wait so long
		{"listener: not once connected", PlainListener, to(socket.FastOpen, 256), 256, nil},
		{"listener: buffer", PlainListener, to(socket.SendBuffer, 64<<10), 128 << 10, nil},
		{"listener: queue", PlainListener, to(socket.Backlog, 7), 7, nil},
		{"listener: segments", PlainListener, to(socket.MaxSegment, 1200), 1200, nil},
		{"listener: segments too small", PlainListener, to(socket.MaxSegment, 87), 0, syscall.EINVAL},
		{"datagrams: traffic class", Datagram, to(socket.TrafficClass, 184), 184, nil},
		{"datagrams: buffer", Datagram, to(socket.RecvBuffer, 64<<10), 128 << 10, nil},
		{"datagrams: option of TCP", Datagram, to(socket.NoDelay, 1), 0, syscall.ENOPROTOOPT},
		{"dialed: before the SYN", Dialed, to(socket.MaxSegment, 1200), 1200, nil},
		{"dialed: only before the SYN", Dialed, to(socket.Raw(unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT), 1), 1, nil},
		{"dialed: afterwards", Dialed, to(socket.NoDelay, 0), 0, nil},
		{"dialed: buffer", Dialed, to(socket.RecvBuffer, 64<<10), 128 << 10, nil},
		{"dialed: no MPTCP", Dialed, to(socket.Multipath, 0), 0, nil},
		{"dialed: MPTCP", Dialed, to(socket.Multipath, 1), 0, syscall.EPROTONOSUPPORT},
		{"dialed: no such option", Dialed, to(bogus, 1), 0, syscall.ENOPROTOOPT},
		{"listener: no such option", PlainListener, to(bogus, 1), 0, syscall.ENOPROTOOPT},
	}
	if os.Geteuid() == 0 {
		forced := socket.Raw(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE) // it needs CAP_NET_ADMIN and cannot be read
		cases = append(cases, try{"connection: set only", Accepted, to(forced, 64<<10), 64 << 10, nil})
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			before := descriptors(t)
			effective, err := Try(tc.kind, tc.setting)
			require.ErrorIs(t, err, tc.err)
			require.Equal(t, socket.Value{Number: tc.want}, effective)
			require.Equal(t, before, descriptors(t))
		})
	}
}

// A scratch listener refuses what the listener that it stands for refuses.
func TestTryMeetsTheKindOfListener(t *testing.T) {
	for _, setting := range []socket.Setting{
		to(socket.QuickAck, 1), to(socket.UserTimeout, 30_000), to(socket.PacingRate, 1<<20), to(socket.MaxSegment, 87), to(socket.MaxSegment, 1<<16),
		to(socket.Backlog, 7), to(socket.FastOpen, 16), to(socket.DeferAccept, 3), to(socket.RecvBuffer, 64<<10),
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		want := setAll(ln.(*net.TCPListener), setting)
		require.NoError(t, ln.Close())
		_, err = Try(Listener, setting)
		require.Equal(t, want, err, setting.Option.Name)
	}
}

func TestTryInterface(t *testing.T) {
	lo := socket.Setting{Option: socket.Interface, Value: socket.Value{Text: "lo"}}
	effective, err := Try(Dialed, lo)
	require.NoError(t, err)
	require.Equal(t, lo.Value, effective)
	_, err = Try(Dialed, socket.Setting{Option: socket.Interface, Value: socket.Value{Text: "none0"}})
	require.ErrorIs(t, err, unix.ENODEV)
}

// TestScratch: each kind is what it says, once, and is closed afterwards.
func TestScratch(t *testing.T) {
	is := func(c syscall.Conn, o int) (n int) {
		raw, err := c.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, o) }))
		require.NoError(t, err)
		return n
	}
	connected := func(c syscall.Conn) bool {
		conn, ok := c.(net.Conn)
		return ok && conn.RemoteAddr() != nil
	}
	listensMPTCP := unix.IPPROTO_TCP
	if speaks, err := Default(Listener, socket.Multipath); err == nil && speaks.Number != 0 {
		listensMPTCP = unix.IPPROTO_MPTCP
	}
	for kind, want := range map[Kind]struct {
		protocol             int
		listening, connected bool
	}{
		Unconnected:   {unix.IPPROTO_TCP, false, false},
		Listener:      {listensMPTCP, true, false},
		PlainListener: {unix.IPPROTO_TCP, true, false},
		Accepted:      {unix.IPPROTO_TCP, false, true},
		Dialed:        {unix.IPPROTO_TCP, false, true},
		DialedMPTCP:   {listensMPTCP, false, true},
		Datagram:      {unix.IPPROTO_UDP, false, false},
	} {
		before, calls := descriptors(t), 0
		require.NoError(t, Scratch(kind, func(c syscall.Conn) {
			calls++
			require.Equal(t, want.protocol, is(c, unix.SO_PROTOCOL), kind)
			require.Equal(t, want.listening, is(c, unix.SO_ACCEPTCONN) != 0, kind)
			require.Equal(t, want.connected, connected(c), kind)
		}))
		require.Equal(t, 1, calls, kind)
		require.Equal(t, before, descriptors(t), kind)
	}
}

// TestNeedsCapability: priorities above 6 are for those who may (sk_setsockopt in the
// kernel's net/core/sock.c), and so are marks. The thread has its capabilities again.
func TestNeedsCapability(t *testing.T) {
	for setting, want := range map[socket.Setting]bool{
		to(socket.Priority, 7): true, to(socket.Priority, 6): false, to(socket.Mark, 42): true, to(socket.NoDelay, 1): false,
	} {
		had := socket.HasCapability("CAP_NET_ADMIN")
		require.Equal(t, want, NeedsCapability(setting), setting.Option.Name)
		require.Equal(t, had, socket.HasCapability("CAP_NET_ADMIN"))
	}
}
