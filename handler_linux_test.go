package sockopt

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// saved reads what a socket has of an option.
func saved(conn *net.TCPConn, o socket.Option) (socket.Saved, error) {
	options, err := socket.NewOptions(conn)
	if err != nil {
		return socket.Saved{}, err
	}
	return options.Save(o)
}

// TestObservingAllocatesLittle counts the allocations of a request: of tcp_info
// with a placeholder that is used, and of two options that change.
func TestObservingAllocatesLittle(t *testing.T) {
	accepted, _ := tcpPair(t)
	conn := &served{tcp: accepted, settles: true}
	o := Options{Priority: new(Number(3)), UserTimeout: new(Duration(30 * time.Second))}
	s, err := o.resolve(route, zap.NewNop())
	require.NoError(t, err)
	handler := &Handler{settings: s, report: newReport(countersOf(origin{address: "of its own"}), zap.NewNop())}
	repl := caddy.NewReplacer()
	ctx := context.WithValue(t.Context(), servedKey{}, conn)
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, repl)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/", nil)
	require.NoError(t, err)
	nothing := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

	options := testing.AllocsPerRun(1000, func() {
		_ = handler.ServeHTTP(nil, r, nothing)
		conn.releaseAll()
	})
	info := testing.AllocsPerRun(1000, func() {
		asked := askedInfo{tcp: conn.tcp}
		_, _ = asked.placeholder(infoPrefix + "rtt")
	})
	t.Logf("%v allocations for two options, %v for a placeholder", options, info)
	require.LessOrEqual(t, options, 6.0)
	require.LessOrEqual(t, info, 7.0)
}

// TestRouteOfClosedConnection is nothing that a connection refused.
func TestRouteOfClosedConnection(t *testing.T) {
	accepted, _ := tcpPair(t)
	o := Options{Priority: new(Number(3)), DSCP: new(DSCP(46))}
	s, err := o.resolve(route, zap.NewNop())
	require.NoError(t, err)
	conn, r := &served{tcp: accepted}, newReport(countersOf(origin{address: "closed"}), zap.NewNop())
	require.NoError(t, accepted.Close())
	h := &hold{s.overrides, r}
	conn.acquire(h)
	conn.release(h)
	require.Equal(t, countersNow{Refused: []refusal{}}, r.now())
}

// TestRouteCannotBe has configurations of a route refused at load.
func TestRouteCannotBe(t *testing.T) {
	for _, test := range []struct{ name, lines, want string }{
		{"no option", "", "sockopt names no option for its route; it can be nodelay, delayed_ack_max"},
		{"of the listener", "keepalive on", "keepalive cannot be set here, but on accepted connections or on connections to backends"},
		{"quickack", "quickack on", "quickack cannot be set here"},
		{"metrics", "metrics", "metrics cannot be set here"},
		{"unreadable", "raw 1 32 65536", "cannot be read, so that it could not be put back"},
		{"bad value", "priority -1", "-1 is not from 0"},
		{"unknown", "nagle off", `unknown option \"nagle\"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, client := serve(t, "sockopt")
			status, answer := c.Load("text/caddyfile", c.config("", fmt.Sprintf("http://%s {\nsockopt {\n%s\n}\necho_payload\n}", c.addr, test.lines)))
			require.Equal(t, http.StatusBadRequest, status)
			require.Contains(t, answer, test.want)
			client.get(t)
		})
	}
}
