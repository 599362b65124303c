package sockopt

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// tenOptions are options that every accepted connection takes, and that leave it
// as fast as it is.
var tenOptions = []string{
	"nodelay on", "notsent_lowat 1MiB", "thin_stream on", "keepalive on", "keepalive_idle 15s",
	"keepalive_interval 15s", "keepalive_count 9", "user_timeout 5m", "dscp af11", "ttl 64",
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
		require.Len(t, w.settings.of[accept], len(lines))
		allocs := testing.AllocsPerRun(1000, func() { w.outfit(conn, w.settings.of[accept], r) })
		require.Zero(t, logs.Len())
		return allocs
	}
	lines := tenOptions
	if !socket.QuickAck.Supported() {
		lines = []string{"nodelay on", "recv_buffer 64KiB", "send_buffer 64KiB", "keepalive on"}
	}
	one := allocs(lines[:1])
	t.Logf("%v allocations", one)
	require.InDelta(t, one, allocs(lines), 0)
}

// BenchmarkAccept compares stock Caddy with sockopt on connections that bring one
// request each: connections a second, and Caddy's CPU time for each. Each of its
// operations is a pair of measurements, one second of one server and then one of
// the other:
//
//	go test -run '^$' -bench Accept -benchtime 20x .
//
// It reports medians, and the quartiles of the ratios of the pairs.
func BenchmarkAccept(b *testing.B) {
	for _, options := range [][]string{nil, tenOptions[:1], tenOptions} {
		b.Run(fmt.Sprintf("%d options", len(options)), func(b *testing.B) {
			w := wrapping{"sockopt", "sockopt {\n" + strings.Join(options, "\n") + "\n}"}
			var l lineup
			order := []contender{l.add(b, wrapStock, protocolPlain, "echo_payload 100"), l.add(b, w, protocolPlain, "echo_payload 100")}
			stock, ours := order[0], order[1]
			caddy := l.spawn(b)
			rates, costs := make(map[contender][]float64), make(map[contender][]float64)
			for b.Loop() {
				for _, c := range slices.Clone(order) {
					rate, cost := wrk(b, caddy, c, "--header=Connection: close")
					rates[c] = append(rates[c], rate)
					costs[c] = append(costs[c], cost)
				}
				slices.Reverse(order)
			}
			b.ReportMetric(0, "ns/op")
			compare(b, "conns/s", rates[stock], rates[ours])
			compare(b, "cpu-µs/conn", costs[stock], costs[ours])
		})
	}
}
