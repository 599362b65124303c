package sockopt

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestObservingAllocatesLittle counts the allocations of a request: of tcp_info with a
// placeholder that is used, and of two options that change.
func TestObservingAllocatesLittle(t *testing.T) {
	accepted, _ := tcpPair(t)
	conn := &served{tcp: accepted}
	handler, observer := routeOf(t, options.Options{Priority: new(options.Number(3)), UserTimeout: new(options.Duration(30 * time.Second))})
	handler.observer = observer
	repl := caddy.NewReplacer()
	ctx := context.WithValue(t.Context(), servedKey{}, conn)
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, repl)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/", nil)
	require.NoError(t, err)
	nothing := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

	route := testing.AllocsPerRun(1000, func() {
		_ = handler.ServeHTTP(nil, r, nothing)
		conn.restoreAll()
	})
	info := testing.AllocsPerRun(1000, func() {
		asked := askedInfo{tcp: conn.tcp}
		_, _ = asked.placeholder(infoPrefix + "rtt")
	})
	t.Logf("%v allocations for two options, %v for a placeholder", route, info)
	require.LessOrEqual(t, route, 6.0)
	require.LessOrEqual(t, info, 7.0)
}

// routeOf returns a handler with options that were tried on this kernel, and an observer.
func routeOf(t *testing.T, o options.Options) (*Handler, *stats.Observer) {
	t.Helper()
	resolved, err := o.Resolve(options.Route, zap.NewNop())
	require.NoError(t, err)
	counters := stats.Use(stats.Origin{Direction: stats.Route, Address: t.Name()})
	return &Handler{overrides: resolved.Overrides}, stats.NewObserver(counters, zap.NewNop(), false)
}

// TestRouteOfClosedConnection is nothing that a connection refused.
func TestRouteOfClosedConnection(t *testing.T) {
	accepted, _ := tcpPair(t)
	handler, observer := routeOf(t, options.Options{Priority: new(options.Number(3)), DSCP: new(options.DSCP(46))})
	conn := &served{tcp: accepted}
	require.NoError(t, accepted.Close())
	hold := &socket.Hold{Overrides: handler.overrides, Observer: observer}
	if err := conn.hold(hold); err == nil {
		conn.end(hold, false)
		conn.restoreAll()
	}
	require.Empty(t, observer.Now().Refused)
	require.Zero(t, observer.Now().Unreachable)
}
