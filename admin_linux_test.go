package sockopt

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/needed"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestStatusShowsWhatTheKernelMakesOfValues names values that the kernel takes as
// they are, rounds, and clamps, and one that it refuses.
func TestStatusShowsWhatTheKernelMakesOfValues(t *testing.T) {
	backlog := kernelLimit(t, "net.core.somaxconn")
	c, _ := serve(t, "sockopt"+block(
		"congestion none_of_these", "user_timeout 20s", "keepalive_idle 1500ms", "backlog 2147483647",
		"raw 6 18 30000", "on_unsupported warn"))
	options := c.use(t).Options
	require.Len(t, options, 5)
	leftOut, phases := options[0].LeftOut, options[4].Phases
	require.Contains(t, phases, "accept") // and listen, where Go listens without MPTCP
	require.Contains(t, leftOut, `congestion "none_of_these": this kernel offers `)
	require.Equal(t, []effect{
		{Option: "congestion", Requested: "none_of_these", LeftOut: leftOut},
		{Option: "keepalive_idle", Requested: "1.5s", Effective: "2s", GetSockOpt: new(int64(2))},
		{Option: "user_timeout", Requested: "20s", Effective: "20s", GetSockOpt: new(int64(20_000))},
		{
			Option: "backlog", Requested: "2147483647", Effective: fmt.Sprint(backlog),
			GetSockOpt: new(backlog), ClampedBy: "net.core.somaxconn",
		},
		{
			Option: "raw", Requested: "6 18 30000", Effective: "6 18 30000", GetSockOpt: new(int64(30_000)),
			Phases: phases,
		},
	}, options)
}

// TestStatusCounts has connections acknowledge, and refuse an option: those of
// clients that speak MPTCP.
func TestStatusCounts(t *testing.T) {
	c, _ := serve(t, "sockopt"+block("quickack on", "user_timeout 20s", "raw 6 18 30000"))
	counted := c.use(t).Counters
	require.EqualValues(t, 1, counted.Connections)
	require.NotZero(t, counted.Acknowledged)
	require.Empty(t, counted.Refused)

	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	for range 3 {
		client, err := dialer.Dial("tcp", c.addr)
		require.NoError(t, err)
		defer client.Close()
		if multipath, err := client.(*net.TCPConn).MultipathTCP(); err != nil || !multipath {
			needed.Missing(t, fmt.Sprintf("no MPTCP here (%v)", err))
		}
		_, err = io.WriteString(client, "GET / HTTP/1.1\r\n")
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		counted = c.use(t).Counters
		return counted.Connections == 4 && len(counted.Refused) == 3 && counted.Refused[0].Count == 3
	}, patience, 10*time.Millisecond)
	require.Equal(t, []refusal{
		{"quickack", "TCP_QUICKACK", "ENOPROTOOPT", 3},
		{"user_timeout", "TCP_USER_TIMEOUT", "ENOPROTOOPT", 3},
		{"raw", "level 6 option 18", "ENOPROTOOPT", 3},
	}, counted.Refused)
}

// TestDefaultsAreTrue compares the defaults that are shown with what a connection
// has behind a stock Caddy.
func TestDefaultsAreTrue(t *testing.T) {
	_, conn := sockets(t, observe)
	for _, r := range rows {
		if r.phases&accept == 0 || r.option.Name == "" || r.repeats() {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			needKernel(t, r)
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
				require.EqualValues(t, -1, value.Number, "what an MPTCP listener sets")
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

// TestSupportOfThisKernel fails where the kernel is new enough for an option, and
// yet the option is not supported.
func TestSupportOfThisKernel(t *testing.T) {
	for _, r := range rows {
		s := r.support()
		require.Equal(t, r.since == "" || kernelHas(r.since), s.Supported, r.name)
		if !s.Supported {
			require.Equal(t, "Linux "+r.since, s.Needs)
		}
		for name := range s.Sysctl {
			require.Contains(t, []string{r.bounds, r.permits}, name)
		}
	}
}
