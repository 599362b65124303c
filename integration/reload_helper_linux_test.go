package integration_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// resting is what a process has when nothing is going on.
type resting struct{ goroutines, descriptors int }

func atRest() resting {
	return resting{runtime.NumGoroutine(), descriptors()}
}

func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}

// await waits until the process has no more than it had at rest.
func (r resting) await(t testing.TB) {
	t.Helper()
	var now resting
	for deadline := time.Now().Add(lab.Patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		now = atRest()
		if now.goroutines <= r.goroutines && now.descriptors <= r.descriptors {
			return
		}
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	t.Fatalf("left over: %d of %d goroutines, %d of %d descriptors\n%s",
		now.goroutines-r.goroutines, now.goroutines, now.descriptors-r.descriptors, now.descriptors, stacks)
}
