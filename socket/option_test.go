package socket

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// refused collects what Set reports as failed.
type refused map[string]error

func (r refused) failed(s Setting, err error) { r[s.Option.Name] = err }

func TestSetOnEverySystem(t *testing.T) {
	cases := []Setting{
		{NoDelay, 0},
		{NoDelay, 1},
		{QuickAck, 0},
		{RecvBuffer, 64 << 10},
		{SendBuffer, 64 << 10},
	}
	for _, s := range cases {
		t.Run(s.Option.Name, func(t *testing.T) {
			accepted, _ := pair(t)
			got := make(refused)
			require.NoError(t, Set(accepted, []Setting{s}, got.failed))
			if s.Option.Supported() {
				require.Empty(t, got)
				return
			}
			require.ErrorIs(t, got[s.Option.Name], errors.ErrUnsupported)
		})
	}
}

func TestSetNothing(t *testing.T) {
	accepted, _ := pair(t)
	require.NoError(t, accepted.Close())
	require.NoError(t, Set(accepted, nil, nil))
}

func TestUnsupportedOption(t *testing.T) {
	missing := Option{Name: "SO_ELSEWHERE"}
	require.False(t, missing.Supported())
	accepted, _ := pair(t)
	got := make(refused)
	require.NoError(t, Set(accepted, []Setting{{missing, 1}, {NoDelay, 0}}, got.failed))
	require.Len(t, got, 1)
	require.ErrorIs(t, got[missing.Name], errors.ErrUnsupported)
	_, err := Get(accepted, missing)
	require.ErrorIs(t, err, errors.ErrUnsupported)
}
