package stats

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEach: it pauses first and after each turn, keeps what it is told to, and ends with its context.
func TestEach(t *testing.T) {
	for _, test := range []struct {
		name   string
		takes  time.Duration // each of ten
		pauses int
	}{
		{"short", 0, 1},
		{"two a turn", turn/2 + 1, 5},
		{"a turn each", turn + 1, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, done := time.Now(), 0
				kept := Each(t.Context(), make([]*Open, 10), func(*Open) bool {
					time.Sleep(test.takes)
					done++
					return done%2 == 0
				})
				require.Len(t, kept, 5)
				require.EqualValues(t, test.pauses, (time.Since(began)-10*test.takes)/(turn/100))
			})
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		kept := Each(ctx, make([]*Open, 10), func(*Open) bool {
			cancel()
			return true
		})
		require.Len(t, kept, 1)
	})
}
