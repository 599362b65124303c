// Package integration_test runs a Caddy with this plugin, in this process or in one of its
// own, and looks at it from outside: at what clients and backends receive, at the sockets
// in the kernel, at system calls and segments, at the admin API, the metrics and the log.
package integration_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddy-sockopt/caddy-sockopt"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m, caddycmd.Main) }

// requirePayload fetches the payload.
func requirePayload(t testing.TB, client *http.Client, url string) {
	t.Helper()
	require.NoError(t, lab.Get(t.Context(), client, url))
}
