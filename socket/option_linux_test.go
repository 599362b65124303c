package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// bogus is an option that no kernel has.
var bogus = Option{"TCP_BOGUS", number{level: unix.IPPROTO_TCP, name: 9999}}

// bufferMax is what the kernel clamps a buffer to, before it doubles it.
func bufferMax(t testing.TB, sysctl string) int {
	t.Helper()
	text, err := fs.ReadFile(os.DirFS("/proc/sys/net/core"), sysctl)
	require.NoError(t, err)
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	return limit
}

// kinds are the sockets that options meet.
var kinds = []struct {
	name string
	open func(testing.TB) syscall.Conn
}{
	{"accepted", func(t testing.TB) syscall.Conn { c, _ := pair(t); return c }},
	{"wrapped", func(t testing.TB) syscall.Conn {
		c, _ := pair(t)
		conn, _ := wrap(t, c, AckAuto)
		return conn
	}},
	{"accepted MPTCP", func(t testing.TB) syscall.Conn { c, _ := mptcpPair(t); return c }},
	{"listening", func(t testing.TB) syscall.Conn { return listenWith(t, false) }},
	{"listening MPTCP", func(t testing.TB) syscall.Conn {
		mptcpPair(t) // or it is missing
		return listenWith(t, true)
	}},
}

func listenWith(t testing.TB, multipath bool) *net.TCPListener {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(multipath)
	ln, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

func requireEffective(t *testing.T, c syscall.Conn, want ...Setting) {
	t.Helper()
	for _, s := range want {
		effective, err := Get(c, s.Option)
		require.NoError(t, err)
		require.Equal(t, s.Value, effective, s.Option.Name)
	}
}

func TestSetAndGet(t *testing.T) {
	cases := []struct {
		option    Option
		set, want int
	}{
		{NoDelay, 0, 0}, // tcp(7)
		{NoDelay, 1, 1},
		{QuickAck, 0, 0}, // tcp(7): "not permanent", but nothing is received here
		{QuickAck, 1, 1},
		{RecvBuffer, 64 << 10, 128 << 10}, // socket(7): "the kernel doubles this value"
		{SendBuffer, 64 << 10, 128 << 10},
		{RecvBuffer, 1 << 29, largest(t, 1<<29, "rmem_max")}, // socket(7): "the maximum allowed value"
		{SendBuffer, 1 << 29, largest(t, 1<<29, "wmem_max")},
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			c := kind.open(t)
			for _, tc := range cases {
				got := refusals(t, c, []Setting{to(tc.option, tc.set)})
				if strings.HasSuffix(kind.name, "MPTCP") && tc.option.Name == QuickAck.Name {
					require.ErrorIs(t, got[QuickAck.Name], syscall.ENOPROTOOPT)
					continue
				}
				require.Empty(t, got)
				requireEffective(t, c, to(tc.option, tc.want))
			}
		})
	}
}

// largest is what a buffer of a size becomes, which a sysctl limits unless the process
// has CAP_NET_ADMIN (SO_RCVBUFFORCE and SO_SNDBUFFORCE in socket(7)).
func largest(t *testing.T, size int, sysctl string) int {
	t.Helper()
	if HasCapability("CAP_NET_ADMIN") {
		return 2 * size
	}
	return 2 * bufferMax(t, sysctl)
}

func TestAcceptedInheritsBuffers(t *testing.T) {
	ln := listen(t)
	got := refusals(t, ln, []Setting{to(RecvBuffer, 96<<10), to(SendBuffer, 80<<10)})
	require.Empty(t, got)
	accepted, _ := connect(t, ln, net.Dialer{})
	requireEffective(t, accepted, to(RecvBuffer, 192<<10), to(SendBuffer, 160<<10))
}

// place says what an option does on a kind of socket.
type place uint8

const (
	noUse     place = iota // takes it, to no effect
	refusesIt              // a later kernel may take it
	takesIt
	handsItOn // takes it, and accepted connections inherit it
)

// needMPTCP skips a test where the MPTCP sockets of this kernel are too old for an option.
// The versions are the first whose listening sockets take it; of TCP_NOTSENT_LOWAT 6.1 is
// known to refuse it and 6.12 to take it.
func needMPTCP(t testing.TB, o Option) {
	t.Helper()
	for since, option := range map[string]Option{
		"5.17": NoDelay, "5.19": DeferAccept, "6.2": FastOpen, "6.12": NotSentLowat, "6.17": MaxSegment,
	} {
		if o.level == option.level && o.number.name == option.number.name && !KernelHas(since) {
			t.Skipf("%s on MPTCP sockets needs Linux %s", option.Name, since)
		}
	}
}

// TestWhereOptionsWork sets each option on listeners and on accepted connections,
// of TCP and MPTCP, and holds the kernel to what it takes and what is inherited.
func TestWhereOptionsWork(t *testing.T) {
	cases := []struct {
		setting, effective      Setting
		listener, listenerMPTCP place
		accepted, acceptedMPTCP place
		capability              bool
	}{
		// Go switches Nagle's algorithm off on what it accepts.
		{to(NoDelay, 0), to(NoDelay, 0), takesIt, takesIt, takesIt, takesIt, false},
		{to(QuickAck, 0), to(QuickAck, 0), takesIt, refusesIt, takesIt, refusesIt, false},
		{to(Cork, 1), to(Cork, 1), handsItOn, handsItOn, takesIt, takesIt, false},
		{to(DeferAccept, 3), to(DeferAccept, 3), takesIt, takesIt, noUse, noUse, false},
		{to(FastOpen, 16), to(FastOpen, 16), takesIt, takesIt, refusesIt, refusesIt, false},
		{to(Backlog, 7), to(Backlog, 7), takesIt, takesIt, refusesIt, refusesIt, false},
		{to(MaxSegment, 1200), to(MaxSegment, 1200), takesIt, takesIt, noUse, noUse, false},
		{to(UserTimeout, 30_000), to(UserTimeout, 30_000), handsItOn, refusesIt, takesIt, refusesIt, false},
		{to(FinTimeout, 30), to(FinTimeout, 30), handsItOn, refusesIt, takesIt, refusesIt, false},
		{to(ThinStream, 1), to(ThinStream, 1), handsItOn, refusesIt, takesIt, refusesIt, false},
		{to(RTOMin, 60_000), to(RTOMin, 60_000), handsItOn, refusesIt, takesIt, refusesIt, false},
		{to(RTOMax, 10_000), to(RTOMax, 10_000), handsItOn, refusesIt, takesIt, refusesIt, false},
		{to(DelayedAckMax, 40_000), to(DelayedAckMax, 40_000), handsItOn, refusesIt, takesIt, refusesIt, false},
		{to(WindowClamp, 48<<10), to(WindowClamp, 48<<10), takesIt, refusesIt, takesIt, refusesIt, false},
		{to(NotSentLowat, 128<<10), to(NotSentLowat, 128<<10), handsItOn, takesIt, takesIt, takesIt, false},
		{to(RecvBuffer, 64<<10), to(RecvBuffer, 128<<10), handsItOn, handsItOn, takesIt, takesIt, false},
		{to(SendBuffer, 64<<10), to(SendBuffer, 128<<10), handsItOn, handsItOn, takesIt, takesIt, false},
		{to(BusyPoll, 50), to(BusyPoll, 50), handsItOn, takesIt, takesIt, takesIt, true},
		{to(PacingRate, 10<<20), to(PacingRate, 10<<20), handsItOn, refusesIt, takesIt, refusesIt, false},
		{to(Priority, 3), to(Priority, 3), takesIt, takesIt, takesIt, takesIt, false},
		{to(Mark, 42), to(Mark, 42), handsItOn, handsItOn, takesIt, takesIt, true},
		{to(TrafficClass, 0xb8), to(TrafficClass, 0xb8), handsItOn, handsItOn, takesIt, takesIt, false},
		{to(TTL, 42), to(TTL, 42), handsItOn, refusesIt, takesIt, refusesIt, false},
		{to(KeepAlive, 0), to(KeepAlive, 0), takesIt, takesIt, takesIt, takesIt, false},
		{to(KeepAliveIdle, 120), to(KeepAliveIdle, 120), takesIt, takesIt, takesIt, takesIt, false},
		{to(KeepAliveInterval, 7), to(KeepAliveInterval, 7), takesIt, takesIt, takesIt, takesIt, false},
		{to(KeepAliveCount, 5), to(KeepAliveCount, 5), takesIt, takesIt, takesIt, takesIt, false},
		{to(Linger, 5), to(Linger, 5), handsItOn, handsItOn, takesIt, takesIt, false},
		{Setting{Congestion, Value{Text: "reno"}}, Setting{Congestion, Value{Text: "reno"}}, handsItOn, handsItOn, takesIt, takesIt, false},
	}
	for _, tc := range cases {
		t.Run(tc.setting.Option.Name, func(t *testing.T) {
			scratch, _ := pair(t)
			_, err := Get(scratch, tc.setting.Option)
			needKernel(t, tc.setting.Option, err)
			// took reports whether the kernel did as promised.
			took := func(t *testing.T, c syscall.Conn, promised place) bool {
				t.Helper()
				got := refusals(t, c, []Setting{tc.setting})
				switch err := got[tc.setting.Option.Name]; {
				case tc.capability && errors.Is(err, syscall.EPERM):
					lab.Missing(t, "this process may not set it")
				case promised == noUse:
					return false
				case promised == refusesIt:
					if !KernelHas("6.19") { // a later kernel may take it
						require.Error(t, err)
					}
					return false
				default:
					require.NoError(t, err)
				}
				requireEffective(t, c, tc.effective)
				return true
			}
			for _, kind := range []struct {
				name      string
				multipath bool
				promised  place
			}{
				{"listener", false, tc.listener},
				{"MPTCP listener", true, tc.listenerMPTCP},
			} {
				t.Run(kind.name, func(t *testing.T) {
					if kind.multipath {
						mptcpPair(t) // or it is missing
						needMPTCP(t, tc.setting.Option)
					}
					ln := listenWith(t, kind.multipath)
					if took(t, ln, kind.promised) && kind.promised == handsItOn {
						accepted, _ := connect(t, ln, net.Dialer{})
						requireEffective(t, accepted, tc.effective)
					}
				})
			}
			t.Run("accepted", func(t *testing.T) {
				accepted, _ := pair(t)
				took(t, accepted, tc.accepted)
			})
			t.Run("accepted MPTCP", func(t *testing.T) {
				needMPTCP(t, tc.setting.Option)
				accepted, _ := mptcpPair(t)
				took(t, accepted, tc.acceptedMPTCP)
			})
		})
	}
}

// TestBothFamilies: a dual-stack socket has the options of IPv4 and of IPv6, whichever
// its client speaks.
func TestBothFamilies(t *testing.T) {
	const none = -1
	for _, test := range []struct {
		name, listen, client string
		class, hops          int // of IPv6
	}{
		{"IPv4 client of a dual-stack listener", ":0", "127.0.0.1", 0xb8, 42},
		{"IPv6 client of a dual-stack listener", ":0", "::1", 0xb8, 42},
		{"IPv6 listener", "[::1]:0", "::1", 0xb8, 42},
		{"IPv4 listener", "127.0.0.1:0", "127.0.0.1", none, none},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.client == "::1" {
				lab.RequireIPv6(t)
			}
			ln, err := net.Listen("tcp", test.listen)
			require.NoError(t, err)
			defer ln.Close()
			_, port, err := net.SplitHostPort(ln.Addr().String())
			require.NoError(t, err)
			client, err := net.Dial("tcp", net.JoinHostPort(test.client, port))
			require.NoError(t, err)
			defer client.Close()
			accepted, err := ln.Accept()
			require.NoError(t, err)
			defer accepted.Close()
			c := accepted.(*net.TCPConn)
			require.Empty(t, refusals(t, c, []Setting{to(TrafficClass, 0xb8), to(TTL, 42)}))
			requireEffective(t, c, to(TrafficClass, 0xb8), to(TTL, 42))
			onDescriptor(t, c, func(fd int) {
				for option, want := range map[int]int{unix.IPV6_TCLASS: test.class, unix.IPV6_UNICAST_HOPS: test.hops} {
					got, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, option)
					if err != nil {
						got = none
					}
					require.Equal(t, want, got)
				}
			})
		})
	}
}

// TestMPTCPOfIPv6 has no traffic class of its own, which is an error there and not
// on an MPTCP connection that speaks IPv4.
func TestMPTCPOfIPv6(t *testing.T) {
	mptcpPair(t) // or it is missing
	var config net.ListenConfig
	config.SetMultipathTCP(true)
	ln, err := config.Listen(t.Context(), "tcp", "[::]:0")
	require.NoError(t, err)
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	for _, tc := range []struct {
		host string
		want error
	}{
		{"127.0.0.1", nil},
		{"::1", syscall.EOPNOTSUPP},
	} {
		t.Run(tc.host, func(t *testing.T) {
			client, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort(tc.host, port))
			if err != nil {
				lab.Missing(t, err.Error())
			}
			defer client.Close()
			accepted, err := ln.Accept()
			require.NoError(t, err)
			defer accepted.Close()
			got := refusals(t, accepted.(*net.TCPConn), []Setting{to(TrafficClass, 0xb8)})
			require.ErrorIs(t, got[TrafficClass.Name], tc.want)
			requireEffective(t, accepted.(*net.TCPConn), to(TrafficClass, 0xb8))
		})
	}
}

func TestSetGoesOnAfterARefusal(t *testing.T) {
	missing := Option{Name: "SO_ELSEWHERE"}
	accepted, _ := pair(t)
	got := refusals(t, accepted, []Setting{to(NoDelay, 0), to(bogus, 1), to(missing, 1), to(SendBuffer, 64<<10)})

	require.Len(t, got, 2)
	require.ErrorIs(t, got[bogus.Name], syscall.ENOPROTOOPT)
	syscallErr, ok := errors.AsType[*os.SyscallError](got[bogus.Name])
	require.True(t, ok)
	require.Equal(t, "setsockopt", syscallErr.Syscall)
	require.ErrorIs(t, got[missing.Name], errors.ErrUnsupported)
	requireEffective(t, accepted, to(NoDelay, 0), to(SendBuffer, 128<<10))
}

func TestGetWhatTheKernelLacks(t *testing.T) {
	accepted, _ := pair(t)
	_, err := Get(accepted, bogus)
	require.ErrorIs(t, err, syscall.ENOPROTOOPT)
	syscallErr, ok := errors.AsType[*os.SyscallError](err)
	require.True(t, ok)
	require.Equal(t, "getsockopt", syscallErr.Syscall)
}

func TestClosedSocket(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			c := kind.open(t)
			require.NoError(t, c.(interface{ Close() error }).Close())
			refused, err := Set(c, []Setting{to(NoDelay, 1)})
			require.ErrorIs(t, err, net.ErrClosed)
			require.Empty(t, refused)
			_, err = Get(c, NoDelay)
			require.ErrorIs(t, err, net.ErrClosed)
			_, err = Info(c)
			require.ErrorIs(t, err, net.ErrClosed)
		})
	}
}

func TestSettingsShareOneTrip(t *testing.T) {
	accepted, _ := pair(t)
	conn, err := NewConn(accepted, AckOptions{Mode: AckAuto}, new(acks))
	require.NoError(t, err)
	one := []Setting{to(NoDelay, 1)}
	four := []Setting{to(NoDelay, 1), to(QuickAck, 0), to(RecvBuffer, 64<<10), to(SendBuffer, 64<<10)}
	allocs := func(c syscall.Conn, settings []Setting) float64 {
		return testing.AllocsPerRun(1000, func() {
			if refused, err := Set(c, settings); err != nil || refused != nil {
				t.Error(refused, err)
			}
		})
	}
	for _, settings := range [][]Setting{one, four} {
		require.Zero(t, allocs(conn, settings))
		require.InDelta(t, 1, allocs(accepted, settings), 0, "SyscallConn's")
	}
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

// requireTaken skips the test where this kernel is older than the option. Where this
// process may not set it, that is missing.
func requireTaken(t testing.TB, s Setting) {
	t.Helper()
	scratch, _ := pair(t)
	err := refusals(t, scratch, []Setting{s})[s.Option.Name]
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
