package trial

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// samples has a value of each option of a dialed connection that a plain socket does not
// have, in the order of options/options.go.
var samples = []socket.Setting{
	to(socket.NoDelay, 0), to(socket.QuickAck, 0), to(socket.NotSentLowat, 128<<10), to(socket.RecvBuffer, 1<<20), to(socket.SendBuffer, 1<<20),
	{Option: socket.Congestion, Value: socket.Value{Text: "reno"}},
	to(socket.WindowClamp, 64<<10), to(socket.MaxSegment, 1200), to(socket.ThinStream, 1),
	to(socket.KeepAlive, 0), to(socket.KeepAliveIdle, 30), to(socket.KeepAliveInterval, 10), to(socket.KeepAliveCount, 3), to(socket.UserTimeout, 20_000),
	to(socket.FinTimeout, 15), to(socket.TrafficClass, 46<<2), to(socket.Priority, 3), to(socket.TTL, 50),
	{Option: socket.Interface, Value: socket.Value{Text: "lo"}},
	to(socket.SynCount, 2),
}

func named(settings []socket.Setting) (names []string) {
	for _, s := range settings {
		names = append(names, s.Option.Name)
	}
	return names
}

// TestBeforeSYN: all but what Go sets itself afterwards.
func TestBeforeSYN(t *testing.T) {
	before, after := BeforeSYN(Dialed, samples)
	require.Equal(t, []string{
		"TCP_NODELAY", "TCP_QUICKACK", "TCP_CONGESTION",
		"SO_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT",
	}, named(after))
	require.Equal(t, []string{
		"TCP_NOTSENT_LOWAT", "SO_RCVBUF", "SO_SNDBUF", "TCP_CONGESTION", "TCP_WINDOW_CLAMP", "TCP_MAXSEG",
		"TCP_THIN_LINEAR_TIMEOUTS", "TCP_USER_TIMEOUT", "TCP_LINGER2", "IP_TOS, IPV6_TCLASS", "SO_PRIORITY",
		"IP_TTL, IPV6_UNICAST_HOPS", "SO_BINDTODEVICE", "TCP_SYNCNT",
	}, named(before))

	none, later := BeforeSYN(Dialed, nil)
	require.Empty(t, none)
	require.Empty(t, later)
}

// TestBeforeSYNWithoutLoopback: an interface or a mark comes in time though it could not
// be tried.
func TestBeforeSYNWithoutLoopback(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		before, after := BeforeSYN(Dialed, []socket.Setting{to(socket.NoDelay, 0), to(socket.Mark, 42), {Option: socket.Interface, Value: socket.Value{Text: "lo"}}})
		require.Equal(t, []string{"SO_MARK", "SO_BINDTODEVICE"}, named(before))
		require.Equal(t, []string{"TCP_NODELAY"}, named(after))
	})
}

// TestBeforeSYNOverMPTCP: what MPTCP sockets refuse before the SYN is tried again after
// it, because a connection that falls back to TCP takes it.
func TestBeforeSYNOverMPTCP(t *testing.T) {
	lab.DialMPTCP(t, listener(t)) // or it is missing
	before, after := BeforeSYN(DialedMPTCP, []socket.Setting{to(socket.UserTimeout, 20_000), to(socket.RecvBuffer, 1<<20), to(socket.Multipath, 1)})
	require.Equal(t, []string{"TCP_USER_TIMEOUT"}, named(after))
	require.Equal(t, []string{"SO_RCVBUF", "IPPROTO_MPTCP"}, named(before))
}
