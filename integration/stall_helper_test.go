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

// batchOf measures a batch.
func batchOf(measure func() time.Duration) []time.Duration {
	times := make([]time.Duration, batch)
	for i := range times {
		times[i] = measure()
	}
	return times
}

// requireStall warms up, and is requireWait.
func requireStall(t testing.TB, do func()) {
	t.Helper()
	requireWait(t, warmed(do))
}

// requireNoStall warms up, and is requireNoWait.
func requireNoStall(t testing.TB, do func()) {
	t.Helper()
	requireNoWait(t, warmed(do))
}

// warmed warms up, and returns a function that measures one more. Where three in a row
// wait for a timer, it is warm.
func warmed(do func()) (measure func() time.Duration) {
	measure = timed(do)
	for i, waited := 0, 0; i < warmUp && waited < 3; i++ {
		if measure() > 30*time.Millisecond {
			waited++
		} else {
			waited = 0
		}
	}
	return measure
}

func timed(do func()) (measure func() time.Duration) {
	return func() time.Duration {
		begin := time.Now()
		do()
		return time.Since(begin)
	}
}

// requireWait holds the median of a batch to what a timer makes of it.
func requireWait(t testing.TB, measure func() time.Duration) {
	t.Helper()
	times := batchOf(measure)
	t.Logf("median %v, from %v to %v", lab.Median(times), slices.Min(times), slices.Max(times))
	require.Greater(t, lab.Median(times), 30*time.Millisecond)
}

// requireNoWait holds the median of a batch to less than 10 ms.
func requireNoWait(t testing.TB, measure func() time.Duration) {
	t.Helper()
	requireWithin(t, 10*time.Millisecond, measure)
}

// requireWithin holds the median of a batch to less than a bound. A busy machine delays
// some batches that much, and a timer all of them, so it tries again.
func requireWithin(t testing.TB, bound time.Duration, measure func() time.Duration) {
	t.Helper()
	var medians []time.Duration
	for range 5 {
		medians = append(medians, lab.Median(batchOf(measure)))
		if medians[len(medians)-1] < bound {
			break
		}
	}
	t.Logf("median %v", medians[len(medians)-1])
	require.Less(t, medians[len(medians)-1], bound, "each batch: %v", medians)
}
