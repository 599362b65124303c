package socket

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTry(t *testing.T) {
	type try struct {
		name      string
		listening bool
		setting   Setting
		want      int64
		err       error
	}
	cases := []try{
		{"connection: switch", false, to(NoDelay, 1), 1, nil},
		{"connection: buffer", false, to(RecvBuffer, 64<<10), 128 << 10, nil},
		{"connection: acknowledgements", false, to(QuickAck, 1), 1, nil},
		{"connection: no such option", false, to(bogus, 1), 0, syscall.ENOPROTOOPT},
		{"connection: not on this system", false, to(Option{Name: "SO_ELSEWHERE"}, 1), 0, errors.ErrUnsupported},
		{"connection: not once connected", false, to(FastOpen, 256), 0, syscall.EINVAL},
		{"connection: IPv6 alone, not once connected", false, to(Raw(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY), 1), 0, syscall.EINVAL},
		{"connection: linger", false, to(Linger, 32_767), 32_767, nil}, // and close does not wait so long
		{"listener: not once connected", true, to(FastOpen, 256), 256, nil},
		{"listener: buffer", true, to(SendBuffer, 64<<10), 128 << 10, nil},
		{"listener: queue", true, to(Backlog, 7), 7, nil},
		{"listener: segments", true, to(MaxSegment, 1200), 1200, nil},
		{"listener: segments too small", true, to(MaxSegment, 87), 0, syscall.EINVAL},
		{"listener: no such option", true, to(bogus, 1), 0, syscall.ENOPROTOOPT},
	}
	if os.Geteuid() == 0 {
		forced := Raw(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE) // it needs CAP_NET_ADMIN and cannot be read
		cases = append(cases, try{"connection: set only", false, to(forced, 64<<10), 64 << 10, nil})
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if tc.listening && new(net.ListenConfig).MultipathTCP() {
				needMPTCP(t, tc.setting.Option)
			}
			before := descriptors(t)
			effective, err := Try(tc.listening, tc.setting)
			require.ErrorIs(t, err, tc.err)
			require.Equal(t, Value{Number: tc.want}, effective)
			require.Equal(t, before, descriptors(t))
		})
	}
}

// A scratch listener refuses what the listener that it stands for refuses.
func TestTryMeetsTheKindOfListener(t *testing.T) {
	for _, setting := range []Setting{
		to(QuickAck, 1), to(UserTimeout, 30_000), to(PacingRate, 1<<20), to(MaxSegment, 87), to(MaxSegment, 1<<16),
		to(Backlog, 7), to(FastOpen, 16), to(DeferAccept, 3), to(RecvBuffer, 64<<10),
	} {
		got := refusals(t, listen(t), []Setting{setting})
		_, err := Try(true, setting)
		require.Equal(t, got[setting.Option.Name], err, setting.Option.Name)
	}
}
