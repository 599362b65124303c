package integration_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// stormWave is how many connections of the storm there are at a time.
const stormWave = 2_500

func TestFaultStorm(t *testing.T) {
	addr := lab.Address(t)
	c := inprocess.Run(t, lab.Wrappers("sockopt {\nnodelay on\nrecv_buffer 64KiB\nsend_buffer 64KiB\n}"),
		"http://"+addr+" {\necho_payload\n}")
	rest := atRest()
	wave := waveOf(t)
	conns := lab.Long(1_000, 200_000)
	for sent := 0; sent < conns; sent += wave {
		storm(t, addr, min(wave, conns-sent))
	}
	rest.await(t)
	require.Zero(t, failures(statusOf(t, c).Listeners[0]))
}

// waveOf returns how many connections, with both sides in this process, its
// descriptors suffice for. Go has raised the soft limit to the hard one.
func waveOf(t testing.TB) int {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	const others = 500
	if limit.Cur >= 2*stormWave+others {
		return stormWave
	}
	wave := max(int(limit.Cur)-others, 100) / 2
	t.Logf("%d connections at a time instead of %d: this process may have %d descriptors", wave, stormWave, limit.Cur)
	return wave
}

// storm sends count clients at once, which behave in turn.
func storm(t *testing.T, addr string, count int) {
	t.Helper()
	var connected, done sync.WaitGroup
	var failed atomic.Pointer[error]
	connected.Add(count)
	for i := range count {
		done.Go(func() {
			b := behaviours[i%len(behaviours)]
			if err := b.run(addr, &connected); err != nil {
				err = fmt.Errorf("a client that %s: %w", b.name, err)
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	done.Wait()
	if err := failed.Load(); err != nil {
		require.NoError(t, *err)
	}
}
