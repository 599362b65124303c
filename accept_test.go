package sockopt

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestAcceptAllocatesNothingPerOption compares connections that get one option and
// ten.
func TestAcceptAllocatesNothingPerOption(t *testing.T) {
	conn, _ := tcpPair(t)
	allocs := func(lines []string) float64 {
		w := new(ListenerWrapper)
		require.NoError(t, unmarshal(w, "sockopt"+lab.Block(append([]string{"on_unsupported warn"}, lines...)...)))
		w, logs := provisioned(t, w.Options)
		r := newReport(countersOf(origin{address: "of its own"}), w.log)
		require.NotEmpty(t, w.settings.of[accept])
		atLoad := logs.Len()
		allocs := testing.AllocsPerRun(1000, func() { w.outfit(conn, w.settings.of[accept], r) })
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
