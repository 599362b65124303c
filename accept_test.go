package sockopt

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// usualOptions are ten that operators set: those of nginx's directives listen and
// tcp_nodelay, without the deferred accept, and of HAProxy's tcp-ut.
var usualOptions = []string{
	"nodelay on", "keepalive on", "keepalive_idle 60s", "keepalive_interval 10s", "keepalive_count 6",
	"recv_buffer 256KiB", "send_buffer 256KiB", "backlog 4096", "fastopen 256", "user_timeout 30s",
}

// dearOptions are ten that every accepted connection takes, and that leave it
// as fast as it is.
var dearOptions = []string{
	"nodelay on", "notsent_lowat 1MiB", "thin_stream on", "keepalive on", "keepalive_idle 60s",
	"keepalive_interval 10s", "keepalive_count 6", "user_timeout 30s", "dscp af11", "ttl 64",
}

// TestAcceptAllocatesNothingPerOption compares connections that get one option and
// ten.
func TestAcceptAllocatesNothingPerOption(t *testing.T) {
	conn, _ := tcpPair(t)
	allocs := func(lines []string) float64 {
		w := new(ListenerWrapper)
		require.NoError(t, unmarshal(w, "sockopt"+block(append([]string{"on_unsupported warn"}, lines...)...)))
		w, logs := provisioned(t, w.Options)
		r := newReport(countersOf(origin{address: "of its own"}), w.log)
		require.NotEmpty(t, w.settings.of[accept])
		atLoad := logs.Len()
		allocs := testing.AllocsPerRun(1000, func() { w.outfit(conn, w.settings.of[accept], r) })
		require.Equal(t, atLoad, logs.Len())
		return allocs
	}
	lists := [][]string{usualOptions, dearOptions}
	if !socket.QuickAck.Supported() {
		lists = [][]string{{"nodelay on", "recv_buffer 64KiB", "send_buffer 64KiB", "keepalive on"}}
	}
	for _, lines := range lists {
		one := allocs(lines[:1])
		t.Logf("%v allocations", one)
		require.InDelta(t, one, allocs(lines), 0)
	}
}
