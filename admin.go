package sockopt

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// The endpoints of the admin API.
const (
	statusPath      = "/sockopt/"
	connectionsPath = "/sockopt/connections"
	peersPath       = "/sockopt/peers"
	optionsPath     = "/sockopt/options"
)

// AdminAPI answers GET in Caddy's admin API, and takes no configuration:
//
// Path | Answer
// -----|-------
// `/sockopt/` | What the kernel made of the options, how often connections refused them, and what has none
// `/sockopt/connections` | Who is connected, and what limits each
// `/sockopt/peers` | Which peers waited for an acknowledgement
// `/sockopt/findings` | What is wrong, its evidence and its fix
// `/sockopt/options` | What this kernel supports
type AdminAPI struct{}

// CaddyModule returns the Caddy module information.
func (AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.sockopt", New: func() caddy.Module { return new(AdminAPI) }}
}

// Provision tells that a configuration is being loaded, also one without socket options.
func (AdminAPI) Provision(ctx caddy.Context) error {
	configurationOf(ctx)
	return nil
}

// Routes returns the routes of the endpoints.
func (AdminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		get(statusPath, func(w http.ResponseWriter, _ *http.Request) error {
			return writeJSON(w, status{entriesOf(stats.Accepted), packetSockets.now(), entriesOf(stats.Dialed), entriesOf(stats.Route), uncoveredNow()})
		}),
		get(connectionsPath, showConnections),
		get(peersPath, func(w http.ResponseWriter, _ *http.Request) error { return writeJSON(w, peersAnswer{stats.Peers()}) }),
		get(findingsPath, showFindings),
		get(optionsPath, func(w http.ResponseWriter, _ *http.Request) error { return writeJSON(w, options.ThisSystem()) }),
	}
}

// status is the answer of GET /sockopt/.
type status struct {
	Listeners  []entry        `json:"listeners"`
	Packets    []packetStatus `json:"packets"`
	Transports []entry        `json:"transports"`
	Routes     []entry        `json:"routes"`
	Uncovered  []uncovered    `json:"uncovered"`
}

// peersAnswer is the answer of GET /sockopt/peers.
type peersAnswer struct {
	Peers []stats.Peer `json:"peers"`
}

// get answers GET and HEAD of one path. Answers may have addresses of clients, and nobody keeps them.
func get(path string, answer caddy.AdminHandlerFunc) caddy.AdminRoute {
	return caddy.AdminRoute{Pattern: path, Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if r.URL.Path != path {
			return caddy.APIError{
				HTTPStatus: http.StatusNotFound,
				Err:        fmt.Errorf("resource not found: %s; there are %s, %s, %s, %s and %s", r.URL.Path, statusPath, connectionsPath, peersPath, findingsPath, optionsPath),
			}
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			return caddy.APIError{
				HTTPStatus: http.StatusMethodNotAllowed,
				Err:        fmt.Errorf("method not allowed: %s; use GET", r.Method),
			}
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		return answer(w, r)
	})}
}

// writeJSON writes indented JSON.
func writeJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "\t")
	return encoder.Encode(value)
}
