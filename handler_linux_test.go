package sockopt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/connection"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// routeHandler returns a handler with options, as a running Caddy would have it.
func routeHandler(t *testing.T, o options.Options) *Handler {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	h := &Handler{Options: o}
	require.NoError(t, h.Provision(ctx))
	return h
}

// over returns a request that comes over a connection.
func over(conn net.Conn) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	return r.WithContext(connection.Show(r.Context(), conn))
}

// restore makes the connection of a request idle.
func restore(r *http.Request) {
	conn, _ := connection.ServedBy(r)
	conn.RestoreAll()
}

// respond is a handler that runs f.
func respond(f func()) caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		f()
		return nil
	})
}

func priorityOf(t *testing.T, conn *net.TCPConn) int64 {
	t.Helper()
	value, err := socket.Get(conn, socket.Priority)
	require.NoError(t, err)
	return value.Number
}

// TestOptionsWhileServed: the options are set while a request is served and until the
// connection is idle, or has a request without them.
func TestOptionsWhileServed(t *testing.T) {
	accepted, _ := tcpPair(t)
	r := over(accepted)
	h := routeHandler(t, options.Options{Priority: new(options.Number(3))})
	other := routeHandler(t, options.Options{TTL: nil, UserTimeout: new(options.Duration(time.Second))})
	serve := func(h *Handler, want int64) {
		ran := false
		require.NoError(t, h.ServeHTTP(httptest.NewRecorder(), r, respond(func() {
			ran = true
			require.Equal(t, want, priorityOf(t, accepted))
		})))
		require.True(t, ran)
	}
	serve(h, 3)
	require.EqualValues(t, 3, priorityOf(t, accepted), "the end of the response is still to be sent")
	restore(r)
	require.EqualValues(t, 0, priorityOf(t, accepted))
	serve(h, 3)
	serve(other, 0)
}

// TestCorkThatCounts: of the routes of a request one says whether its response is corked.
func TestCorkThatCounts(t *testing.T) {
	on, off := routeHandler(t, options.Options{Cork: new(true)}), routeHandler(t, options.Options{Cork: new(false)})
	deeper := func(h *Handler) *Handler {
		return &Handler{Options: h.Options, nesting: nesting{depth: h.nesting.depth + 1}, overrides: h.overrides, late: h.late, observer: h.observer}
	}
	for _, test := range []struct {
		outer, inner *Handler
		want         int64
	}{
		{on, on, 1},
		{on, off, 1},
		{off, on, 0},
		{off, off, 0},
		{on, deeper(on), 1},
		{on, deeper(off), 0},
		{off, deeper(on), 1},
	} {
		accepted, _ := tcpPair(t)
		corked := func() int64 {
			value, err := socket.Get(accepted, socket.Cork)
			require.NoError(t, err)
			return value.Number
		}
		r := over(accepted)
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any)))
		var written, flushed int64
		write := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			_, err := io.WriteString(w, "body")
			written = corked()
			err = errors.Join(err, http.NewResponseController(w).Flush())
			flushed = corked()
			return err
		})
		require.NoError(t, test.outer.ServeHTTP(httptest.NewRecorder(), r, caddyhttp.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) error { return test.inner.ServeHTTP(w, r, write) })))
		require.Equal(t, test.want, written)
		require.Equal(t, test.want, flushed)
		restore(r)
		require.Zero(t, corked())
	}
}

// TestRequestsWithoutAConnection pass, as over HTTP/3, and so do those over one that is
// closed, which refuses nothing.
func TestRequestsWithoutAConnection(t *testing.T) {
	h := routeHandler(t, options.Options{Priority: new(options.Number(3)), DSCP: new(options.DSCP(46))})
	before := h.observer.Now()
	passed := 0
	next := respond(func() { passed++ })
	require.NoError(t, h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), next))
	accepted, _ := tcpPair(t)
	r := over(accepted)
	require.NoError(t, accepted.Close())
	require.NoError(t, h.ServeHTTP(httptest.NewRecorder(), r, next))
	restore(r)
	require.Equal(t, 2, passed)
	require.Equal(t, before, h.observer.Now())
}

// TestObservingAllocatesLittle counts the allocations of a request: of two options that
// change, and of tcp_info with a placeholder that is used.
func TestObservingAllocatesLittle(t *testing.T) {
	accepted, _ := tcpPair(t)
	r := over(accepted)
	o := options.Options{Priority: new(options.Number(3)), UserTimeout: new(options.Duration(30 * time.Second))}
	resolved, err := o.Resolve(options.Route, zap.NewNop())
	require.NoError(t, err)
	counters := stats.For(stats.Origin{Direction: stats.Route, Address: t.Name()})
	defer counters.Done()
	h := &Handler{overrides: resolved.Overrides}
	nothing := respond(func() {})
	changing := testing.AllocsPerRun(1000, func() {
		_ = h.ServeHTTP(nil, r, nothing)
		restore(r)
	})
	names := &placeholders{prefix: "http.tcp_info."}
	info := testing.AllocsPerRun(1000, func() {
		asked := askedInfo{placeholders: names, tcp: accepted}
		_, _ = asked.placeholder("http.tcp_info.rtt")
	})
	t.Logf("%v allocations for two options, %v for a placeholder", changing, info)
	require.LessOrEqual(t, changing, 6.0)
	require.LessOrEqual(t, info, 7.0)
}

// TestMemoryOfManyRequests: an idle connection that once served many requests at the same
// time keeps no memory for them. What it keeps, and 200 bytes in net/http's context and in a
// map, is at most 1 KiB.
func TestMemoryOfManyRequests(t *testing.T) {
	const requests = 200
	accepted, _ := tcpPair(t)
	h := routeHandler(t, options.Options{
		NotSentLowat: new(options.Size(16 << 10)), SendBuffer: new(options.Size(1 << 20)), Congestion: new("reno"),
		PacingRate: new(options.Size(1 << 30)), WindowClamp: new(options.Size(1 << 20)), ThinStream: new(true),
		UserTimeout: new(options.Duration(30 * time.Second)), DSCP: new(options.DSCP(18)), Priority: new(options.Number(3)),
	})
	idle := make([]*connection.Served, lab.Long(500, 10_000))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range idle {
		r := over(accepted)
		r.ProtoMajor = 2
		idle[i], _ = connection.ServedBy(r)
		var all [requests]routed
		for j := range all {
			all[j] = routed{Request: r, conn: idle[i]}
			all[j].add(h)
		}
		for j := range all {
			all[j].end()
		}
		idle[i].RestoreAll()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int(after.HeapAlloc) - int(before.HeapAlloc)) / len(idle) //nolint:gosec // they are small
	t.Logf("%d bytes for each", each)
	require.LessOrEqual(t, each, 800)
	runtime.KeepAlive(idle)
}

// TestRouteOptionThatCannotBeRead: an option that cannot be read cannot be restored.
func TestRouteOptionThatCannotBeRead(t *testing.T) {
	if !socket.HasCapability("CAP_NET_ADMIN") {
		lab.Missing(t, "only with CAP_NET_ADMIN there is an option that can be set and not be read")
	}
	const sendBufferForce = `"raw": [{"level": 1, "option": 32, "value": 65536}]`
	require.ErrorContains(t, validate(t, fmt.Sprintf(asHandler, sendBufferForce)), "cannot be read, and so not be restored")
}
