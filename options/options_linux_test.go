package options

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
	"github.com/caddy-sockopt/caddy-sockopt/socket/trial"
)

// TestRowsReachTheKernel sets the sample of each option in each of its phases but those
// of a listener, which a running Caddy shows (TestOptionsReachTheKernel), and reads it back
// by the kernel's numbers. Its effect is the sample itself.
func TestRowsReachTheKernel(t *testing.T) {
	for _, r := range rows {
		if r.option.Name == "" {
			continue
		}
		want, o := expect(t, r)
		require.True(t, r.repeats() || r.option.Supported(), "add the number of %s to socket/numbers_linux.go", r.option.Name)
		for _, one := range r.phases.each() {
			p := one.Phase
			if p == Listen || p == Accept || r.option.Is(socket.Multipath) || r.option.Is(socket.MaxSegment) {
				continue // an open connection does not show the last two
			}
			t.Run(r.name+"/"+strings.Join(p.names(), ""), func(t *testing.T) {
				requireKernel(t, r)
				_, accepted, dialed := sockets(t)
				c := map[Phase]syscall.Conn{Dial: dialed, Route: accepted, Packet: udpSocket(t)}[p]
				resolved, err := o.Resolve(p, zap.NewNop())
				require.NoError(t, err)
				require.Len(t, resolved.Effects, 1)
				e := resolved.Effects[0]
				require.Equal(t, want.Sample, e.Requested)
				require.Equal(t, want.Sample, e.Effective)
				require.Empty(t, e.ClampedBy)

				require.NotEqual(t, want.Effective, want.Read(t, c), "the sample must differ from what a socket has without it")
				settings := resolved.Settings[p]
				require.Len(t, settings, 1)
				refused, err := socket.Set(c, settings)
				require.NoError(t, err)
				require.Empty(t, refused)
				require.Equal(t, want.Effective, want.Read(t, c))
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

// udpSocket returns a socket as Caddy opens it for HTTP/3.
func udpSocket(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// TestPacket: what a UDP socket refuses is refused at load, and what quic-go raises is
// said.
func TestPacket(t *testing.T) {
	raw := fmt.Sprintf("raw %d %d 1", unix.SOL_SOCKET, unix.SO_RXQ_OVFL)
	resolved, logged, err := resolve(t, Packet, "recv_buffer 3584KiB", "send_buffer 3584KiB", "dscp af21", raw)
	require.NoError(t, err)
	require.Empty(t, logged)
	require.Empty(t, resolved.Ack.Mode)
	c := udpSocket(t)
	refused, err := socket.Set(c, resolved.Settings[Packet])
	require.NoError(t, err)
	require.Empty(t, refused)
	require.Equal(t, resolved.Effects, resolved.Live(c))
	require.NoError(t, c.SetReadBuffer(128<<10)) // less than the least net.core.rmem_max of a kernel
	live := resolved.Live(c)
	require.Equal(t, "128KiB", live[0].Effective)
	require.EqualValues(t, 256<<10, *live[0].GetSockOpt)
	require.Equal(t, resolved.Effects[1:], live[1:])

	const raised = "quic-go raises less than 3.5MiB to 7MiB, as far as the sysctl or CAP_NET_ADMIN permits"
	for _, name := range []string{"recv_buffer", "send_buffer"} {
		resolved, logged, err := resolve(t, Packet, name+" 3583KiB")
		require.NoError(t, err)
		require.Equal(t, raised, resolved.Effects[0].Caution)
		require.Equal(t, []entry{{zap.WarnLevel, name + ": " + raised, name, "3583KiB", "3583KiB", ""}}, logged)
	}
	requireRefused(t, "raw 6 36 1: this kernel refuses level 6 option 36: setsockopt: protocol not available", Packet, "raw 6 36 1")
	resolved, logged, err = resolve(t, Packet, "metrics", "raw 6 36 1", "ttl 7", "on_unsupported warn")
	require.NoError(t, err)
	require.Len(t, logged, 1)
	require.True(t, resolved.Metrics)
	require.NotEmpty(t, resolved.Effects[1].LeftOut)
	require.Equal(t, resolved.Effects[1], resolved.Live(c)[1])
	require.Equal(t, "64", resolved.Live(c)[0].Effective)
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
				require.Contains(t, []int64{0, -1}, value.Number) // the sysctl, or unlimited
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
// the option is not supported. An older kernel may have it, too: stable kernels take
// over options of later ones.
func TestSupportOfThisKernel(t *testing.T) {
	for _, r := range rows {
		s := r.support()
		if r.since == "" || socket.KernelHas(r.since) {
			require.True(t, s.Supported, r.name)
		}
		if !s.Supported {
			require.Equal(t, "Linux "+r.since, s.Needs)
		}
		if !r.tooOldForMPTCP() {
			require.Empty(t, s.NeedsMPTCP, r.name)
		}
		for name := range s.Sysctl {
			require.Contains(t, []string{r.bounds, r.permits}, name)
		}
	}
}

// TestListenersTakeEachOption sets each option of the listen phase on a listening socket
// of TCP and on one of MPTCP. It fails where the kernel is new enough, and yet refuses it.
func TestListenersTakeEachOption(t *testing.T) {
	for _, r := range rows {
		if r.phases&Listen == 0 || r.repeats() || r.option.Name == "" || r.option.Is(socket.Multipath) {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			requireKernel(t, r)
			_, o := expect(t, r)
			setting := r.effects(o)[0].setting
			_, err := trial.Try(trial.PlainListener, setting)
			require.NoError(t, err)
			if !new(net.ListenConfig).MultipathTCP() {
				t.Skip("this process listens without MPTCP")
			}
			_, err = trial.Try(trial.Listener, setting)
			if isMissing(err) && r.tooOldForMPTCP() {
				line := r.name + " " + lab.Expectations[r.name].Sample
				requireRefused(t, fmt.Sprintf("%s: on this kernel listening sockets that speak MPTCP refuse %s: "+
					"%s, or start Caddy with GODEBUG=multipathtcp=0", line, r.option.Name, r.needsMPTCP()), Listen, line)
				t.Skipf("listening MPTCP sockets need Linux %s", r.sinceMPTCP)
			}
			require.NoError(t, err)
		})
	}
}
