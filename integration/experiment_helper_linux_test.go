package integration_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// measureAgain measures once, and in the long form as often again as fits into a second.
func measureAgain(measure func() float64) (measured []float64) {
	atMost := lab.Long(1, 15)
	for begin := time.Now(); len(measured) == 0 || len(measured) < atMost && time.Since(begin) < time.Second; {
		measured = append(measured, measure())
	}
	return measured
}

// requireStalls holds rates of one connection to what a wait of 40 ms leaves of them. The
// kernel acknowledges the first segments of a connection at once, so not every request
// waits. No machine is too fast for that.
func requireStalls(t *testing.T, rates []float64) {
	t.Helper()
	require.Less(t, slices.Max(rates), 1/.020)
}

// requireNoStalls holds the best of some rates of one connection to less than 20 ms a
// request, and measures again until it is: a busy machine gives way for a second some
// time, and with a stall of 40 ms no measurement comes near.
func requireNoStalls(t *testing.T, measure func() float64, rates ...float64) {
	t.Helper()
	best := slices.Max(append(rates, 0))
	for begin := time.Now(); best <= 1/.020 && time.Since(begin) < lab.Patience; {
		best = max(best, measure())
	}
	require.Greater(t, best, 1/.020)
}

func perSecond(rate float64) string {
	if rate < 100 {
		return fmt.Sprintf("%.1f", rate)
	}
	return fmt.Sprintf("%.0f", rate)
}
