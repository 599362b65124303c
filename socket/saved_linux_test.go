package socket

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRestoreLetsTheKernelTune: a buffer whose size was put back is the kernel's again.
func TestRestoreLetsTheKernelTune(t *testing.T) {
	accepted, _ := pair(t)
	options, err := NewOptions(accepted)
	require.NoError(t, err)
	for _, o := range []Option{SendBuffer, RecvBuffer} {
		base, err := options.Save(o)
		require.NoError(t, err)
		require.False(t, base.Fixed, o.Name)
		require.NoError(t, options.Set(Setting{o, Value{Number: 100_000}}))
		changed, err := options.Save(o)
		require.NoError(t, err)
		require.Equal(t, Saved{Value{Number: 200_000}, true}, changed)
		require.NoError(t, options.Restore(o, base))
		again, err := options.Save(o)
		require.NoError(t, err)
		require.Equal(t, base, again)
	}
	require.NoError(t, accepted.Close())
	require.ErrorIs(t, options.Set(Setting{Priority, Value{Number: 1}}), net.ErrClosed)
}

// TestOptionsAllocateNothing changes an option and puts it back.
func TestOptionsAllocateNothing(t *testing.T) {
	accepted, _ := pair(t)
	options, err := NewOptions(accepted)
	require.NoError(t, err)
	base, err := options.Save(Priority)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_ = options.Set(Setting{Priority, Value{Number: 3}})
		_ = options.Restore(Priority, base)
	}))
}
