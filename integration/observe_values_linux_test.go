package integration_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// TestStatusShowsWhatTheKernelMakesOfValues names values that the kernel takes as
// they are, rounds, and clamps, and one that it refuses.
func TestStatusShowsWhatTheKernelMakesOfValues(t *testing.T) {
	backlog := lab.SysctlNumber(t, "net.core.somaxconn")
	c, _ := serve(t, "sockopt"+lab.Block(
		"congestion none_of_these", "user_timeout 20s", "keepalive_idle 1500ms", "backlog 2147483647",
		"raw 0 10 3", "on_unsupported warn"))
	shown := c.use(t).Options
	require.Len(t, shown, 5)
	leftOut, phases := shown[0].LeftOut, shown[4].Phases
	require.Contains(t, phases, "accept") // and listen, where Go listens without MPTCP
	require.Contains(t, leftOut, `congestion "none_of_these": this kernel offers `)
	require.Equal(t, []options.Effect{
		{Option: "congestion", Requested: "none_of_these", LeftOut: leftOut},
		{Option: "keepalive_idle", Requested: "1.5s", Effective: "2s", GetSockOpt: new(int64(2))},
		{Option: "user_timeout", Requested: "20s", Effective: "20s", GetSockOpt: new(int64(20_000))},
		{
			Option: "backlog", Requested: "2147483647", Effective: fmt.Sprint(backlog),
			GetSockOpt: new(backlog), ClampedBy: "net.core.somaxconn",
		},
		{
			Option: "raw", Requested: "0 10 3", Effective: "0 10 3", GetSockOpt: new(int64(3)),
			Phases: phases,
		},
	}, shown)
}

// TestStatusCounts has connections acknowledge, and refuse an option: those of
// clients that speak MPTCP.
func TestStatusCounts(t *testing.T) {
	c, _ := serve(t, "sockopt"+lab.Block("quickack on", "user_timeout 20s", "raw 0 10 3"))
	counted := c.use(t).Counters
	require.EqualValues(t, 1, counted.Connections)
	require.NotZero(t, counted.Acknowledged)
	require.Empty(t, counted.Refused)

	for range 3 {
		client := lab.DialMPTCP(t, c.addr)
		_, err := io.WriteString(client, "GET / HTTP/1.1\r\n")
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		counted = c.use(t).Counters
		return counted.Connections == 4 && len(counted.Refused) == 3 && counted.Refused[0].Count == 3
	}, lab.Patience, 10*time.Millisecond)
	require.Equal(t, []stats.Refusal{
		{Option: "quickack", Kernel: "TCP_QUICKACK", Errno: "ENOPROTOOPT", Count: 3},
		{Option: "user_timeout", Kernel: "TCP_USER_TIMEOUT", Errno: "ENOPROTOOPT", Count: 3},
		{Option: "raw", Kernel: "level 0 option 10", Errno: "EOPNOTSUPP", Count: 3},
	}, counted.Refused)
}
