package integration_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// A delayed-ACK timer makes a peer wait 40 ms (TCP_DELACK_MIN in the kernel's
// include/net/tcp.h). Without it a request over loopback takes less than a millisecond.

// batch is how many requests a timing test sends at a time, and warmUp how many before
// those that count: the kernel acknowledges a connection's first segments at once.
const (
	batch  = 11
	warmUp = 20
)

// timesOf returns how long each of a batch takes.
func timesOf(do func()) []time.Duration {
	times := make([]time.Duration, batch)
	for i := range times {
		begin := time.Now()
		do()
		times[i] = time.Since(begin)
	}
	return times
}

// requireStall warms up, and holds the median to what a timer makes of it.
func requireStall(t testing.TB, do func()) {
	t.Helper()
	for range warmUp {
		do()
	}
	times := timesOf(do)
	t.Logf("median %v, from %v to %v", lab.Median(times), slices.Min(times), slices.Max(times))
	require.Greater(t, lab.Median(times), 30*time.Millisecond)
}

// requireNoStall warms up, and holds the median of a batch to less than 10 ms. A busy
// machine delays some batches that much, and a timer all of them, so it tries again.
func requireNoStall(t testing.TB, do func()) {
	t.Helper()
	for range warmUp {
		do()
	}
	var medians []time.Duration
	for range 5 {
		medians = append(medians, lab.Median(timesOf(do)))
		if medians[len(medians)-1] < 10*time.Millisecond {
			break
		}
	}
	t.Logf("median %v", medians[len(medians)-1])
	require.Less(t, medians[len(medians)-1], 10*time.Millisecond, "each batch: %v", medians)
}
