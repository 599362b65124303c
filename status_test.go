package sockopt

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestActiveUses: a configuration that replaces another has the counters of the uses that
// both have. Uses of one server for the same address are told apart.
func TestActiveUses(t *testing.T) {
	uses := activeUses{direction: stats.Dialed}
	before, after := httpServer{new(caddyhttp.Server)}, httpServer{new(caddyhttp.Server)}
	resolved := &options.Resolved{
		Ack:     socket.AckOptions{Mode: socket.AckAuto},
		Metrics: true,
		Effects: []options.Effect{{Option: "ttl", Requested: "9", Effective: "9"}},
	}
	first := uses.add("first", before, "192.0.2.1:80", resolved)
	second := uses.add("second", before, "192.0.2.1:80", resolved)
	require.NotSame(t, first, second)
	uses.add("third", before, "192.0.2.0:80", resolved)
	require.True(t, uses.has(before))
	require.False(t, uses.has(after))

	now := uses.now()
	require.Len(t, now, 3)
	require.Equal(t, "192.0.2.0:80", now[0].Address, "by address")
	require.Equal(t, "auto", now[0].QuickAck)
	require.True(t, now[0].Metrics)
	require.Equal(t, resolved.Effects, now[0].Options)

	require.Same(t, first, uses.add("the first's next", after, "192.0.2.1:80", resolved))
	for _, owner := range []any{"first", "second", "third"} {
		uses.remove(owner)
	}
	require.False(t, uses.has(before))
	require.True(t, uses.has(after))
	require.Len(t, uses.now(), 1)
	uses.remove("the first's next")
	require.Empty(t, uses.now())
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
		{http.MethodGet, statusPath, statusPath + "srv0", "", "resource not found: /sockopt/srv0; there are /sockopt/ and /sockopt/options", true},
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
