package sockopt

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestAcceptAllocatesNothingPerOption compares connections that get one option and
// ten.
func TestAcceptAllocatesNothingPerOption(t *testing.T) {
	conn, _ := tcpPair(t)
	allocs := func(lines []string) float64 {
		w := new(ListenerWrapper)
		d := caddyfile.NewTestDispenser("sockopt" + lab.Block(append([]string{"on_unsupported warn"}, lines...)...))
		require.NoError(t, w.UnmarshalCaddyfile(d))
		w, logs := provisioned(t, w.Options)
		observer := stats.NewObserver(stats.Use(stats.Origin{Address: t.Name()}), w.log, false)
		settings := w.resolved.Settings[options.Accept]
		require.NotEmpty(t, settings)
		atLoad := logs.Len()
		allocs := testing.AllocsPerRun(1000, func() { attach(conn, settings, &w.resolved, observer) })
		require.Equal(t, atLoad, logs.Len())
		return allocs
	}
	lists := [][]string{lab.TenUsual, lab.TenCostly}
	if !socket.QuickAck.Supported() {
		lists = [][]string{{"nodelay on", "recv_buffer 64KiB", "send_buffer 64KiB", "keepalive on"}}
	}
	for _, lines := range lists {
		one := allocs(lines[:1])
		t.Logf("%v allocations", one)
		require.InDelta(t, one, allocs(lines), 0)
	}
}
