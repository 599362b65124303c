package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// holdings is what a process holds.
type holdings struct {
	goroutines, descriptors int
	heap                    float64
}

// held returns what Caddy holds, but for its heap.
func held(t testing.TB, c *lab.Running) holdings {
	t.Helper()
	_, profile := c.API(http.MethodGet, "/debug/pprof/goroutine?debug=1", "", "")
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.PID))
	require.NoError(t, err)
	return holdings{goroutines: goroutines(profile), descriptors: len(files)}
}

// goroutines counts those of a profile, but for what comes and goes without any client:
// certmagic's after a start, and the two that write the profile itself.
func goroutines(profile string) (count int) {
	for stack := range strings.SplitSeq(profile, "\n\n") {
		if strings.Contains(stack, "keepLockfileFresh") || strings.Contains(stack, "adminHandler") || strings.Contains(stack, "backgroundRead") {
			continue
		}
		if _, after, ok := strings.Cut(stack, "goroutine profile: total "); ok {
			_, stack, _ = strings.Cut(after, "\n")
		}
		alike := 0
		_, _ = fmt.Sscan(stack, &alike)
		count += alike
	}
	return count
}

// awaitHeld waits until Caddy holds no more goroutines and descriptors than before.
func awaitHeld(t *testing.T, c *lab.Running, before holdings) {
	t.Helper()
	var now holdings
	if lab.Eventually("nothing is left", func() (bool, error) {
		now = held(t, c)
		return now.goroutines <= before.goroutines && now.descriptors <= before.descriptors, nil
	}) == nil {
		return
	}
	_, stacks := c.API(http.MethodGet, "/debug/pprof/goroutine?debug=1", "", "")
	t.Fatalf("left over: %d goroutines and %d descriptors, before there were %d and %d\n%s",
		now.goroutines, now.descriptors, before.goroutines, before.descriptors, stacks)
}

// moreHeap is how much the heap of Caddy may have grown in an ordeal. A connection that
// is not let go holds 8 KiB or more, the buffers of net/http: half of many clients would
// be seen, and all of a few. Without one the heap grows by 30 to 120 KB, and by another
// 1 to 3 KB for each client that there is at once, but never again when they come again.
func (o ordeal) moreHeap() float64 {
	const aClient, noise, most = 4 << 10, 128 << 10, 4 << 20
	return float64(min(noise+aClient*lab.Long(o.clients, o.longer), most))
}

// requireRest waits until nothing is left of an ordeal, and Caddy serves as before.
func (e *exposed) requireRest(t *testing.T) {
	t.Helper()
	e.awaitClosed(t)
	awaitHeld(t, e.Running, e.before)
	var grown float64
	err := lab.Eventually("the heap to shrink", func() (bool, error) {
		grown = e.Heap() - e.before.heap
		return grown <= e.moreHeap(), nil
	})
	t.Logf("the heap has grown by %.0f bytes, and may by %.0f", grown, e.moreHeap())
	require.NoError(t, err)

	e.warmUp(t)
	e.awaitClosed(t)
	awaitHeld(t, e.Running, e.before)
	require.Zero(t, connectionsOf(t, e.Running, "").Matched)
	require.Empty(t, e.Entries("error"))
	require.NotContains(t, e.Logged(), "panic")
}

// awaitClosed waits until the metrics have seen every connection closed that they have
// seen opened: those of clients, and those to the backend.
func (e *exposed) awaitClosed(t *testing.T) {
	t.Helper()
	for _, labels := range []string{listenerLabel(t, e.addr), `upstream="` + e.backend + `"`} {
		opened, _ := e.Metric("connections_total", labels)
		require.Positive(t, opened, labels)
		var closed float64
		for deadline := time.Now().Add(lab.Patience); closed != opened; time.Sleep(5 * time.Millisecond) {
			require.True(t, time.Now().Before(deadline), "%v connections were opened, %v closed: %s", opened, closed, labels)
			closed, _ = e.Metric("rtt_seconds_count", labels)
		}
	}
}
