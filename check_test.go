package sockopt

import (
	"encoding/json"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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

	status, answer := c.load("text/caddyfile", c.with("sockopt"+block("nodelay off")))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, answer, "provision caddy.listeners.sockopt: nodelay off: TCP_FROM_THE_FUTURE is not available on "+
		runtime.GOOS+"; leave the option out, or set on_unsupported warn")
	client.get(t)
}

func TestUnavailableOptionIsLeftOut(t *testing.T) {
	c, _ := serve(t, "sockopt")
	change(t, "nodelay", func(r *row) { r.option = unavailable })

	status, answer := c.load("text/caddyfile", c.with("sockopt {\nnodelay off\non_unsupported warn\n}"))
	require.Equal(t, http.StatusOK, status, answer)
	c.reachable(t)
	require.Equal(t, []warning{{
		Message: "option left out: this system refuses it",
		Option:  "nodelay",
		Error:   "nodelay off: TCP_FROM_THE_FUTURE is not available on " + runtime.GOOS,
	}}, c.warnings())
}

// TestOptionOfAnotherPhase holds JSON to what the Caddyfile's grammar knows.
func TestOptionOfAnotherPhase(t *testing.T) {
	c, client := serve(t, "sockopt")
	change(t, "send_buffer", func(r *row) { r.phases = route })

	status, answer := c.api(http.MethodPost, listenerWrapper+"/send_buffer", "application/json", "65536")
	require.Equal(t, http.StatusInternalServerError, status, "as for every error under /config/")
	require.Contains(t, answer, "send_buffer cannot be set here; here it can be nodelay, quickack, recv_buffer or on_unsupported")
	client.get(t)

	status, answer = c.load("text/caddyfile", c.with("sockopt {\nsend_buffer 64KiB\n}"))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, answer, `unknown option \"send_buffer\"; here it can be nodelay, quickack, recv_buffer or on_unsupported`)
	client.get(t)
}

// warning is a warning of the plugin in the log.
type warning struct {
	Message   string `json:"msg"`
	Option    string `json:"option"`
	Error     string `json:"error"`
	Requested string `json:"requested"`
	Effective string `json:"effective"`
	Raise     string `json:"raise"`
	QuickAck  string `json:"quickack"`
}

// warnings returns what the plugin has warned of, and fails the test for worse.
func (c *running) warnings() (all []warning) {
	c.t.Helper()
	for line := range strings.Lines(c.log()) {
		var entry struct {
			Level  string `json:"level"`
			Logger string `json:"logger"`
			warning
		}
		require.NoError(c.t, json.Unmarshal([]byte(line), &entry))
		if !strings.Contains(entry.Logger, "sockopt") {
			continue
		}
		require.NotEqual(c.t, "error", entry.Level, line)
		if entry.Level == "warn" {
			all = append(all, entry.warning)
		}
	}
	return all
}
