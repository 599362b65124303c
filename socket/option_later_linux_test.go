package socket

import (
	"bytes"
	"io"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLaterIsTrue holds what Later finds on a scratch connection against real ones:
// whether the kernel leaves TCP_WINDOW_CLAMP where it was set. From commit
// a2cbb1603943 on, tcp_measure_rcv_mss in its net/ipv4/tcp_input.c does not.
func TestLaterIsTrue(t *testing.T) {
	for _, tc := range []struct {
		name     string
		settings []Setting
	}{
		{"tuned buffer", []Setting{to(WindowClamp, 48<<10)}},
		{"fixed buffer", []Setting{to(RecvBuffer, 1<<20), to(WindowClamp, 48<<10)}},
		{"small buffer", []Setting{to(RecvBuffer, 64<<10), to(WindowClamp, 48<<10)}},
		{"least clamp", []Setting{to(WindowClamp, 1152)}},
		{"large clamp", []Setting{to(WindowClamp, 1<<20)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			accepted, peer := pair(t)
			got := refusals(t, accepted, tc.settings)
			require.Empty(t, got)
			set := tc.settings[len(tc.settings)-1]
			requireEffective(t, accepted, set)

			segment := bytes.Repeat([]byte("x"), 1000)
			for range 20 {
				_, err := peer.Write(segment)
				require.NoError(t, err)
				_, err = io.ReadFull(accepted, segment)
				require.NoError(t, err)
			}
			after, err := Get(accepted, WindowClamp)
			require.NoError(t, err)

			before := descriptors(t)
			later, err := Later(tc.settings, WindowClamp)
			require.NoError(t, err)
			require.Equal(t, before, descriptors(t))
			t.Logf("%d became %d after 20 KB, and %d on the scratch connection", set.Value.Number, after.Number, later.Number)
			require.Equal(t, after == set.Value, later == set.Value)
		})
	}
}

// TestLaterFindsWhatStays: nothing else of a connection changes by itself.
func TestLaterFindsWhatStays(t *testing.T) {
	for _, s := range []Setting{to(UserTimeout, 30_000), to(NotSentLowat, 128<<10), to(Linger, 32_767)} {
		later, err := Later([]Setting{s}, s.Option)
		require.NoError(t, err)
		require.Equal(t, s.Value, later)
	}
	_, err := Later([]Setting{to(bogus, 1)}, bogus)
	require.ErrorIs(t, err, syscall.ENOPROTOOPT)
}
