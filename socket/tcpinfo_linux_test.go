package socket

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestInfoOfOlderKernels gates each figure on the length that the kernel returned.
func TestInfoOfOlderKernels(t *testing.T) {
	for _, f := range slices.DeleteFunc(slices.Clone(Figures), func(f Figure) bool { return f == ConnectTime }) {
		t.Run(f.Name, func(t *testing.T) {
			at, has := fields[f.Name]
			require.True(t, has, "unix.TCPInfo has no such field")
			info := new(TCPInfo)
			info.length = uint32(at.end)
			_, known := info.Value(f)
			require.True(t, known)
			info.length--
			_, known = info.Value(f)
			require.False(t, known)
		})
	}
}

// TestInfoWithoutValue: what the kernel has for "none".
func TestInfoWithoutValue(t *testing.T) {
	info := new(TCPInfo)
	info.length = math.MaxUint32
	info.Min_rtt, info.Pacing_rate, info.Rtt = math.MaxUint32, math.MaxUint64, 1500
	_, known := info.Value(MinRTT)
	require.False(t, known)
	_, known = info.Value(PacingRateNow)
	require.False(t, known)
	rtt, known := info.Value(RTT)
	require.True(t, known)
	require.EqualValues(t, 1500, rtt)
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
