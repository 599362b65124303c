package sockopt

import (
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// adminPath is where the admin API shows the options.
const adminPath = "/sockopt/"

// AdminAPI shows, at GET /sockopt/ of Caddy's admin API, what the kernel made of
// the configured options, how often connections refused them, and what this kernel
// supports.
type AdminAPI struct{}

// CaddyModule returns the Caddy module information.
func (AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.sockopt",
		New: func() caddy.Module { return new(AdminAPI) },
	}
}

// Routes returns the route of the endpoint.
func (AdminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(serveStatus)}}
}

// status is the answer of GET /sockopt/.
type status struct {
	Listeners  []activeUse `json:"listeners"`
	Transports []activeUse `json:"transports"`
	Routes     []activeUse `json:"routes"`
	options.System
}

func serveStatus(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path != adminPath {
		return caddy.APIError{
			HTTPStatus: http.StatusNotFound,
			Err:        fmt.Errorf("resource not found: %s; there is only %s", r.URL.Path, adminPath),
		}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return caddy.APIError{
			HTTPStatus: http.StatusMethodNotAllowed,
			Err:        fmt.Errorf("method not allowed: %s; use GET", r.Method),
		}
	}
	w.Header().Set("Content-Type", "application/json")
	return writeJSON(w, status{activeListeners.now(), activeTransports.now(), activeRoutes.now(), options.ThisSystem()})
}
