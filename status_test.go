package sockopt

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// newServer returns the record of a server in a configuration of its own, and what ends that.
func newServer(t testing.TB, of *caddyhttp.Server) (*server, context.CancelFunc) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.WithValue(context.Background(), caddyhttp.ServerCtxKey, of)})
	t.Cleanup(cancel)
	s, _ := serverOf(ctx)
	again, _ := serverOf(ctx)
	require.Same(t, s, again, "a server has one record")
	return s, cancel
}

// TestEntries: a configuration that replaces another has the counters of the entries that
// both have. Entries of one server for the same address are told apart.
func TestEntries(t *testing.T) {
	before, end := newServer(t, new(caddyhttp.Server))
	after, endAfter := newServer(t, new(caddyhttp.Server))
	resolved := &options.Resolved{
		Ack:     socket.AckOptions{Mode: socket.AckAuto},
		Metrics: true,
		Effects: []options.Effect{{Option: "ttl", Requested: "9", Effective: "9"}},
	}
	first := before.show(stats.Origin{Direction: stats.Dialed, Upstream: "192.0.2.1:80"}, resolved, nil, zap.NewNop())
	second := before.show(stats.Origin{Direction: stats.Dialed, Upstream: "192.0.2.1:80"}, resolved, nil, zap.NewNop())
	require.NotSame(t, first.observer.Counters, second.observer.Counters)
	before.show(stats.Origin{Direction: stats.Dialed, Upstream: "192.0.2.0:80"}, resolved, nil, zap.NewNop())

	now := entriesOf(stats.Dialed)
	require.Len(t, now, 3)
	require.Equal(t, "192.0.2.0:80", now[0].Upstream, "by backend")
	require.Equal(t, "auto", now[0].QuickAck)
	require.True(t, now[0].Metrics)
	require.Equal(t, resolved.Effects, now[0].Options)
	require.Empty(t, entriesOf(stats.Accepted))

	next := after.show(stats.Origin{Direction: stats.Dialed, Upstream: "192.0.2.1:80"}, resolved, nil, zap.NewNop())
	require.Same(t, first.observer.Counters, next.observer.Counters)
	end()
	require.Len(t, entriesOf(stats.Dialed), 1)
	late := before.show(stats.Origin{Direction: stats.Dialed, Upstream: "192.0.2.2:80"}, resolved, nil, zap.NewNop())
	require.NotNil(t, late.observer, "a request may outlast its configuration")
	require.Len(t, entriesOf(stats.Dialed), 1)
	endAfter()
	require.Empty(t, entriesOf(stats.Dialed))
	require.Eventually(t, func() bool {
		configurations.Lock()
		defer configurations.Unlock()
		return !slices.Contains(configurations.all, before.configuration) && !slices.Contains(configurations.all, after.configuration)
	}, lab.Patience, time.Millisecond, "its record goes with the configuration")
}

// TestEntriesAreLinear: a reload of 5,000 listening addresses and transports takes about as
// long as a hundred of 50, and not a hundred times as long.
func TestEntriesAreLinear(t *testing.T) {
	show := func(s *server, n int) {
		for i := range n {
			s.show(stats.Origin{Direction: stats.Accepted, Address: fmt.Sprint("192.0.2.1:", i)}, new(options.Resolved), nil, zap.NewNop())
			s.show(stats.Origin{Direction: stats.Dialed, Upstream: "192.0.2.1:80"}, new(options.Resolved), nil, zap.NewNop())
		}
	}
	took := func(n int) (sum time.Duration) {
		for range 5000 / n {
			before, endBefore := newServer(t, new(caddyhttp.Server))
			after, endAfter := newServer(t, new(caddyhttp.Server))
			show(before, n)
			start := time.Now()
			show(after, n)
			before.configuration.end()
			sum += time.Since(start)
			endBefore()
			endAfter()
		}
		return sum
	}
	few, many := min(took(50), took(50)), min(took(5000), took(5000), took(5000))
	t.Logf("100 times 50 of each %v, 5,000 of each %v", few, many)
	require.Less(t, many, 20*few)
}

// TestHooksAreInstalledOnce: a connection is stored once however many modules ask for it.
func TestHooksAreInstalledOnce(t *testing.T) {
	of := new(caddyhttp.Server)
	s, _ := newServer(t, of)
	s.showConnections()
	for range 3 {
		s.restoreWhenIdle()
		s.showConnections()
	}
	hooks := reflect.ValueOf(of).Elem()
	require.Equal(t, 2, hooks.FieldByName("connContextFuncs").Len())
	require.Equal(t, 1, hooks.FieldByName("connStateFuncs").Len())
}

// TestAdminAPI: its endpoints take GET and HEAD.
func TestAdminAPI(t *testing.T) {
	mux := make(map[string]caddy.AdminHandler)
	for _, route := range (AdminAPI{}).Routes() {
		mux[route.Pattern] = route.Handler
	}
	for _, test := range []struct {
		method, pattern, path, allow, want string
		fails                              bool
	}{
		{http.MethodGet, statusPath, statusPath, "", "\n\t\"listeners\": [", false}, // people read it, too
		{http.MethodGet, optionsPath, optionsPath, "", "\n\t\"options\": [", false},
		{http.MethodHead, statusPath, statusPath, "", "", false},
		{http.MethodPost, statusPath, statusPath, "GET, HEAD", "method not allowed: POST; use GET", true},
		{http.MethodOptions, optionsPath, optionsPath, "GET, HEAD", "method not allowed: OPTIONS; use GET", true},
		{http.MethodGet, statusPath, statusPath + "srv0", "", "resource not found: /sockopt/srv0; there are /sockopt/, /sockopt/connections, /sockopt/peers, /sockopt/findings and /sockopt/options", true},
		{http.MethodPost, statusPath, statusPath + "srv0", "", "resource not found: /sockopt/srv0", true},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			err := mux[test.pattern].ServeHTTP(w, httptest.NewRequest(test.method, test.path, nil))
			require.Equal(t, test.allow, w.Header().Get("Allow"))
			if test.fails {
				require.ErrorContains(t, err, test.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			require.Contains(t, w.Body.String(), test.want)
		})
	}
}
