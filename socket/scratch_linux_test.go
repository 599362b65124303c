package socket

import (
	"errors"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTry(t *testing.T) {
	cases := []struct {
		name      string
		listening bool
		setting   Setting
		want      int
		err       error
	}{
		{"connection: switch", false, Setting{NoDelay, 1}, 1, nil},
		{"connection: buffer", false, Setting{RecvBuffer, 64 << 10}, 128 << 10, nil},
		{"connection: acknowledgements", false, Setting{QuickAck, 1}, 1, nil},
		{"connection: no such option", false, Setting{bogus, 1}, 0, syscall.ENOPROTOOPT},
		{"connection: not on this system", false, Setting{Option{Name: "SO_ELSEWHERE"}, 1}, 0, errors.ErrUnsupported},
		{"listener: buffer", true, Setting{SendBuffer, 64 << 10}, 128 << 10, nil},
		{"listener: no such option", true, Setting{bogus, 1}, 0, syscall.ENOPROTOOPT},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			before := descriptors(t)
			effective, err := Try(tc.listening, tc.setting)
			require.ErrorIs(t, err, tc.err)
			require.Equal(t, tc.want, effective)
			require.Equal(t, before, descriptors(t))
		})
	}
}

// A scratch listener refuses what the listener that it stands for refuses.
func TestTryMeetsTheKindOfListener(t *testing.T) {
	setting := Setting{QuickAck, 1}
	got := make(refused)
	require.NoError(t, Set(listen(t), []Setting{setting}, got.failed))
	_, err := Try(true, setting)
	require.Equal(t, got[QuickAck.Name], err)
}
