package trial

import (
	"bytes"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestAfterBytesIsTrue holds what AfterBytes finds on a scratch connection against real ones:
// whether the kernel leaves TCP_WINDOW_CLAMP where it was set. From commit
// a2cbb1603943 on, tcp_measure_rcv_mss in its net/ipv4/tcp_input.c does not.
func TestAfterBytesIsTrue(t *testing.T) {
	for _, tc := range []struct {
		name     string
		settings []socket.Setting
	}{
		{"tuned buffer", []socket.Setting{to(socket.WindowClamp, 48<<10)}},
		{"fixed buffer", []socket.Setting{to(socket.RecvBuffer, 1<<20), to(socket.WindowClamp, 48<<10)}},
		{"small buffer", []socket.Setting{to(socket.RecvBuffer, 64<<10), to(socket.WindowClamp, 48<<10)}},
		{"least clamp", []socket.Setting{to(socket.WindowClamp, 1152)}},
		{"large clamp", []socket.Setting{to(socket.WindowClamp, 1<<20)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := tc.settings[len(tc.settings)-1]
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer ln.Close()
			peer, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			defer peer.Close()
			conn, err := ln.Accept()
			require.NoError(t, err)
			defer conn.Close()
			accepted := conn.(*net.TCPConn)
			require.NoError(t, setAll(accepted, tc.settings...))
			effective, err := socket.Get(accepted, socket.WindowClamp)
			require.NoError(t, err)
			require.Equal(t, set.Value, effective)

			segment := bytes.Repeat([]byte("x"), 1000)
			for range 20 {
				_, err := peer.Write(segment)
				require.NoError(t, err)
				_, err = io.ReadFull(accepted, segment)
				require.NoError(t, err)
			}
			after, err := socket.Get(accepted, socket.WindowClamp)
			require.NoError(t, err)

			before := descriptors(t)
			later, err := AfterBytes(tc.settings, socket.WindowClamp)
			require.NoError(t, err)
			require.Equal(t, before, descriptors(t))
			t.Logf("%d became %d after 20 KB, and %d on the scratch connection", set.Value.Number, after.Number, later.Number)
			require.Equal(t, after == set.Value, later == set.Value)
		})
	}
}

// TestAfterBytesFindsWhatStays: nothing else of a connection changes by itself.
func TestAfterBytesFindsWhatStays(t *testing.T) {
	for _, s := range []socket.Setting{to(socket.UserTimeout, 30_000), to(socket.NotSentLowat, 128<<10), to(socket.Linger, 32_767)} {
		later, err := AfterBytes([]socket.Setting{s}, s.Option)
		require.NoError(t, err)
		require.Equal(t, s.Value, later)
	}
	_, err := AfterBytes([]socket.Setting{to(bogus, 1)}, bogus)
	require.ErrorIs(t, err, syscall.ENOPROTOOPT)
}

// TestExchange: options that stop the flow of data, or leave it to a timer.
func TestExchange(t *testing.T) {
	require.NoError(t, Exchange([]socket.Setting{to(socket.UserTimeout, 30_000), to(bogus, 1)}))
	require.ErrorContains(t, Exchange([]socket.Setting{to(socket.Cork, 1)}), "over IPv4")
	before := descriptors(t)
	require.Error(t, Exchange([]socket.Setting{to(socket.PacingRate, 1000)}))
	require.Equal(t, before, descriptors(t))
}
