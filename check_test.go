package sockopt

import (
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// change changes one row of the table until the test ends.
func change(t *testing.T, name string, how func(*row)) {
	t.Helper()
	old := rows
	t.Cleanup(func() { rows = old })
	rows = slices.Clone(rows)
	i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
	require.GreaterOrEqual(t, i, 0, "no row %s", name)
	how(&rows[i])
}

// unavailable is an option that no system has.
var unavailable = socket.Option{Name: "TCP_FROM_THE_FUTURE"}

func TestUnavailableOptionFailsTheLoad(t *testing.T) {
	c, client := serve(t, "sockopt")
	change(t, "nodelay", func(r *row) { r.option = unavailable })

	status, answer := c.Load("text/caddyfile", c.with("sockopt"+lab.Block("nodelay off")))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, answer, "provision caddy.listeners.sockopt: nodelay off: TCP_FROM_THE_FUTURE is not available on "+
		runtime.GOOS+"; leave the option out, or set on_unsupported warn")
	client.get(t)
}

func TestUnavailableOptionIsLeftOut(t *testing.T) {
	c, _ := serve(t, "sockopt")
	change(t, "nodelay", func(r *row) { r.option = unavailable })

	status, answer := c.Load("text/caddyfile", c.with("sockopt {\nnodelay off\non_unsupported warn\n}"))
	require.Equal(t, http.StatusOK, status, answer)
	c.reachable(t)
	require.Equal(t, []lab.Entry{{
		Message: "option left out: this system refuses it",
		Option:  "nodelay",
		Error:   "nodelay off: TCP_FROM_THE_FUTURE is not available on " + runtime.GOOS,
	}}, c.Warnings())
}

// TestOptionOfAnotherPhase holds JSON to what the Caddyfile's grammar knows.
func TestOptionOfAnotherPhase(t *testing.T) {
	c, client := serve(t, "sockopt")
	change(t, "send_buffer", func(r *row) { r.phases = dial | route })
	want := "send_buffer cannot be set here, but on connections to backends or for the requests of a route; here it can be " +
		strings.Replace(listenerNames, "send_buffer, ", "", 1)

	status, answer := c.API(http.MethodPost, listenerWrapper+"/send_buffer", "application/json", "65536")
	require.Equal(t, http.StatusInternalServerError, status, "as for every error under /config/")
	require.Contains(t, answer, "provision caddy.listeners.sockopt: "+want)
	client.get(t)

	status, answer = c.Load("text/caddyfile", c.with("sockopt {\nsend_buffer 64KiB\n}"))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, answer, "parsing caddyfile tokens for 'servers': "+want)
	client.get(t)
}
