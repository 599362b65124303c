package options

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestRowsReachTheKernel sets the sample of each option in each of its phases, and reads
// it back by the kernel's numbers. Its effect is the sample itself.
func TestRowsReachTheKernel(t *testing.T) {
	for _, r := range rows {
		if r.option.Name == "" {
			continue
		}
		want, o := expect(t, r)
		require.True(t, r.repeats() || r.option.Supported(), "add %s with its number to socket/numbers_linux.go", r.option.Name)
		for _, p := range r.phases.each() {
			t.Run(r.name+"/"+strings.Join(p.names(), ""), func(t *testing.T) {
				requireKernel(t, r)
				ln, accepted, dialed := sockets(t)
				c := map[Phase]syscall.Conn{Listen: ln, Accept: accepted, Dial: dialed, Route: accepted}[p]
				resolved, err := o.Resolve(p, zap.NewNop())
				if p == Listen && r.repeats() && err != nil && socket.SpeaksMPTCP(ln) {
					t.Skip("the sample is an option that MPTCP refuses")
				}
				require.NoError(t, err)
				require.Len(t, resolved.Effects, 1)
				e := resolved.Effects[0]
				require.Equal(t, want.sample, e.Requested)
				require.Equal(t, want.sample, e.Effective)
				require.Empty(t, e.ClampedBy)

				require.NotEqual(t, want.effective, read(t, c, want), "the sample must differ from what a socket has without it")
				settings := resolved.Settings[p]
				require.Len(t, settings, 1)
				refused, err := socket.Set(c, settings)
				require.NoError(t, err)
				require.Empty(t, refused)
				require.Equal(t, want.effective, read(t, c, want))
				if p == Route {
					require.Equal(t, settings[0], resolved.Overrides[0].Setting)
					now, err := socket.Get(c, settings[0].Option)
					require.NoError(t, err)
					require.Equal(t, now, resolved.Overrides[0].Effective)
				}
			})
		}
	}
}

// TestDefaultsAreTrue compares the defaults that are shown with what a connection has
// that Go accepted.
func TestDefaultsAreTrue(t *testing.T) {
	_, conn, _ := sockets(t)
	for _, r := range rows {
		if r.phases&Accept == 0 || r.option.Name == "" || r.repeats() {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			requireKernel(t, r)
			s := r.support()
			require.True(t, s.Supported, s.Needs)
			require.NotEmpty(t, s.Default)
			value, err := socket.Get(conn, r.option)
			require.NoError(t, err)
			shown := r.show(value)
			switch r.name {
			case "quickack": // our own
				shown = "auto"
			case "user_timeout":
				require.Zero(t, value.Number, "a sysctl decides")
				return
			case "notsent_lowat":
				require.Contains(t, []int64{0, -1}, value.Number, "no limit, or what an MPTCP listener sets")
				return
			case "recv_buffer", "send_buffer", "window_clamp":
				return // grow with the connection
			case "pacing_rate", "linger":
				require.EqualValues(t, -1, value.Number)
				return
			}
			accepted, _, _ := strings.Cut(s.Default, ", dialed ")
			require.Equal(t, shown, accepted)
		})
	}
}

// TestSupportOfThisKernel fails where the kernel is new enough for an option, and yet
// the option is not supported.
func TestSupportOfThisKernel(t *testing.T) {
	for _, r := range rows {
		s := r.support()
		require.Equal(t, r.since == "" || socket.KernelHas(r.since), s.Supported, r.name)
		if !s.Supported {
			require.Equal(t, "Linux "+r.since, s.Needs)
		}
		for name := range s.Sysctl {
			require.Contains(t, []string{r.bounds, r.permits}, name)
		}
	}
}

// read reads an option by its numbers: an int, or what the test's table shows of it.
func read(t testing.TB, c syscall.Conn, want expected) (text string) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(descriptor uintptr) {
		fd := int(descriptor)
		switch want.kernel {
		case "TCP_CONGESTION":
			text, err = unix.GetsockoptString(fd, want.level, want.number)
			return
		case "SO_LINGER":
			var linger *unix.Linger
			linger, err = unix.GetsockoptLinger(fd, want.level, want.number)
			text = fmt.Sprint(linger.Onoff, " ", linger.Linger)
			return
		case "listen(2)":
			// The length of the queue: tcp_get_info in the kernel's net/ipv4/tcp.c.
			var info *unix.TCPInfo
			info, err = unix.GetsockoptTCPInfo(fd, want.level, want.number)
			text = fmt.Sprint(info.Sacked)
			return
		}
		var number int
		number, err = unix.GetsockoptInt(fd, want.level, want.number)
		text = fmt.Sprint(number)
	}))
	require.NoError(t, err)
	return text
}
