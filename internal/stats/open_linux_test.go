package stats

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestLimitedByTable names what took half of the busy time, and what the kernel's counts say of the
// rest.
func TestLimitedByTable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	reading, err := socket.Info(conn.(*net.TCPConn))
	require.NoError(t, err)
	with := func(info unix.TCPInfo) *Open {
		is := *reading // with as many fields as this kernel knows
		is.TCPInfo = info
		return &Open{TCPInfo: &is}
	}
	type info = unix.TCPInfo
	for _, test := range []struct {
		name        string
		before, now info
		want        Limit
	}{
		{"idle", info{}, info{}, NothingToSend},
		{"a short response", info{Busy_time: 100}, info{Busy_time: 900}, NothingToSend},
		{"a window that is closed", info{Rwnd_limited: 10}, info{Busy_time: 100_000, Rwnd_limited: 90_000, Notsent_bytes: 9}, PeerWindow},
		{"a window that was closed before", info{Busy_time: 90_000, Rwnd_limited: 90_000}, info{Busy_time: 190_000, Rwnd_limited: 90_000}, NothingToSend},
		{"a send buffer that holds too little", info{}, info{Busy_time: 100_000, Sndbuf_limited: 60_000}, SendBuffer},
		{"segments sent again", info{Total_retrans: 2}, info{Busy_time: 100_000, Total_retrans: 3, Notsent_bytes: 9}, Loss},
		{"segments lost", info{}, info{Busy_time: 100_000, Lost: 1, Notsent_bytes: 9}, Loss},
		{"segments sent again before", info{Total_retrans: 3, Snd_cwnd: 10}, info{Total_retrans: 3, Unacked: 10, Snd_cwnd: 10, Notsent_bytes: 9}, CongestionWindow},
		{"a window with room", info{}, info{Busy_time: 100_000, Unacked: 9, Snd_cwnd: 10, Notsent_bytes: 9}, Pacing},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := with(test.now)
			require.Equal(t, test.want, o.limitedBy(o.progress().minus(with(test.before).progress())))
		})
	}
}
