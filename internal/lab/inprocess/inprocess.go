// Package inprocess runs a Caddy in the test's own process, and shows a test the sockets
// that this Caddy has.
package inprocess

import (
	"bytes"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // the directives of every Caddyfile

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
)

// turn is held by the parallel test whose Caddy runs in this process.
var turn sync.Mutex

// Parallel makes the test run beside tests whose Caddys have processes of their own. It
// waits for the other tests that run one in this process.
func Parallel(t *testing.T) {
	t.Helper()
	t.Parallel()
	turn.Lock()
	t.Cleanup(turn.Unlock)
}

// Run serves a Caddyfile, made of global options and sites, until the test ends. A
// process has one such Caddy at a time.
func Run(t testing.TB, global, sites string) *lab.Running {
	t.Helper()
	r := lab.NewRunning(t)
	Load(t, r.Caddyfile(global, sites))
	return r
}

// RunSites is Run for sites that a test compares.
func RunSites(t testing.TB, s *lab.Sites) *lab.Running {
	t.Helper()
	global, sites := s.Caddyfile()
	return Run(t, global, sites)
}

// Load loads a whole Caddyfile, which is served until the test ends.
func Load(t testing.TB, caddyfile string) {
	t.Helper()
	adapted, err := Adapt(caddyfile)
	require.NoError(t, err)
	LoadJSON(t, adapted)
}

// LoadJSON is Load for a configuration in JSON.
func LoadJSON(t testing.TB, config []byte) {
	t.Helper()
	if bytes.Contains(config, []byte(`"multipath"`)) {
		// multipath off changes it for every test, so that this one cannot be parallel.
		t.Setenv("GODEBUG", os.Getenv("GODEBUG"))
	}
	require.NoError(t, caddy.Load(config, true))
	t.Cleanup(func() {
		require.NoError(t, caddy.Stop())
		// A configuration takes GODEBUG and its counters back in a goroutine.
		stacks := make([]byte, 4<<20)
		require.Eventually(t, func() bool {
			return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("/caddy-sockopt.(*configuration)"))
		}, lab.Patience, time.Millisecond)
		forget(t)
	})
}

// forget drops the counters of configurations that ended, which a scrape does that has
// seen them. A later test may get the same port, whose counters would go on.
func forget(t testing.TB) {
	t.Helper()
	registry := prometheus.NewRegistry()
	require.NoError(t, stats.Register(registry))
	for range 2 {
		_, err := registry.Gather()
		require.NoError(t, err)
	}
}

// Adapt turns a Caddyfile into JSON.
func Adapt(caddyfile string) ([]byte, error) {
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return adapted, err
}
