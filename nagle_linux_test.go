package sockopt

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A client with Nagle's algorithm on holds the second piece of a request back
// until the first one is acknowledged, for which stock Caddy has the kernel wait
// 40 ms (TCP_DELACK_MIN in the kernel's include/net/tcp.h).
func TestNagleClient(t *testing.T) {
	const (
		warmUp   = 20 // the kernel acknowledges a connection's first segments at once
		requests = 25
	)
	var l lineup
	for _, p := range []protocol{protocolPlain, protocolTLS, protocolH2C} {
		for _, w := range []wrapping{wrapStock, wrapAuto, wrapOn} {
			l.add(t, w, p, "echo_payload")
		}
	}
	l.spawn(t)

	for _, c := range l.contenders {
		t.Run(string(c.protocol)+"/"+c.name, func(t *testing.T) {
			client := c.dialNagle(t)
			for range warmUp {
				client.ask(t, client.sendInPieces)
			}
			times := make([]time.Duration, requests)
			for i := range times {
				begin := time.Now()
				client.ask(t, client.sendInPieces)
				times[i] = time.Since(begin)
			}
			slices.Sort(times)
			median := times[requests/2]
			t.Logf("median %v, from %v to %v", median, times[0], times[requests-1])
			if c.wrapping == wrapStock {
				require.Greater(t, median, 30*time.Millisecond)
			} else {
				require.Less(t, median, 10*time.Millisecond)
			}
		})
	}
}
