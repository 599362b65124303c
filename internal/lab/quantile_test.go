package lab

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestQuantile(t *testing.T) {
	require.True(t, math.IsNaN(Quantile([]float64{}, .5)))
	require.InDelta(t, 2.5, Quantile([]float64{4, 1, 3, 2}, .5), 0)
	require.InDelta(t, 4, Quantile([]float64{4, 1, 3, 2}, 1), 0)
	require.InDelta(t, 1.75, Quantile([]float64{4, 1, 3, 2}, .25), 0)
	require.Equal(t, 2*time.Second, Median([]time.Duration{3 * time.Second, time.Second, 2 * time.Second}))
}
