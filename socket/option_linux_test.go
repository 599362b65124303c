package socket

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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
		mptcpPair(t) // skips where there is none
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
		{RecvBuffer, 1 << 30, 2 * bufferMax(t, "rmem_max")}, // socket(7): "the maximum allowed value"
		{SendBuffer, 1 << 30, 2 * bufferMax(t, "wmem_max")},
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			c := kind.open(t)
			for _, tc := range cases {
				got := make(refused)
				require.NoError(t, Set(c, []Setting{to(tc.option, tc.set)}, got.failed))
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

func TestAcceptedInheritsBuffers(t *testing.T) {
	ln := listen(t)
	got := make(refused)
	require.NoError(t, Set(ln, []Setting{to(RecvBuffer, 96<<10), to(SendBuffer, 80<<10)}, got.failed))
	require.Empty(t, got)
	accepted, _ := connect(t, ln, net.Dialer{})
	requireEffective(t, accepted, to(RecvBuffer, 192<<10), to(SendBuffer, 160<<10))
}

func TestSetGoesOnAfterARefusal(t *testing.T) {
	missing := Option{Name: "SO_ELSEWHERE"}
	accepted, _ := pair(t)
	got := make(refused)
	require.NoError(t, Set(accepted, []Setting{to(NoDelay, 0), to(bogus, 1), to(missing, 1), to(SendBuffer, 64<<10)}, got.failed))

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
			unreached := func(Setting, error) { t.Error("a setting was tried") }
			require.ErrorIs(t, Set(c, []Setting{to(NoDelay, 1)}, unreached), net.ErrClosed)
			_, err := Get(c, NoDelay)
			require.ErrorIs(t, err, net.ErrClosed)
			_, err = Info(c)
			require.ErrorIs(t, err, net.ErrClosed)
		})
	}
}

func TestSettingsShareOneTrip(t *testing.T) {
	accepted, _ := pair(t)
	one := []Setting{to(NoDelay, 1)}
	four := []Setting{to(NoDelay, 1), to(QuickAck, 0), to(RecvBuffer, 64<<10), to(SendBuffer, 64<<10)}
	unexpected := func(s Setting, err error) { t.Error(s.Option.Name, err) }
	allocs := func(settings []Setting) float64 {
		return testing.AllocsPerRun(1000, func() {
			if err := Set(accepted, settings, unexpected); err != nil {
				t.Error(err)
			}
		})
	}
	t.Logf("%v allocations", allocs(four))
	require.InDelta(t, allocs(one), allocs(four), 0)
}

func TestInfo(t *testing.T) {
	const messages = 3
	accepted, peer := pair(t)
	for range messages {
		send(t, accepted, "12345")
	}
	got := make([]byte, 5*messages)
	for n := 0; n < len(got); {
		more, err := peer.Read(got[n:])
		require.NoError(t, err)
		n += more
	}
	info, err := Info(accepted)
	require.NoError(t, err)
	require.EqualValues(t, unix.BPF_TCP_ESTABLISHED, info.State)
	require.EqualValues(t, messages, info.Data_segs_out)
	require.Positive(t, info.Rcv_space)
	theirs, err := Info(peer)
	require.NoError(t, err)
	require.EqualValues(t, messages, theirs.Data_segs_in)
}
