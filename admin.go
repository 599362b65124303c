package sockopt

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

// adminPath is where the admin API shows the options.
const adminPath = "/sockopt/"

// AdminAPI shows, at GET /sockopt/ of Caddy's admin API, what this kernel
// supports, what it made of the options that are configured, and counters.
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
	system
	Listeners  []activeUse `json:"listeners"`
	Transports []activeUse `json:"transports"`
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
	return json.NewEncoder(w).Encode(status{thisSystem(), activeListeners.now(), activeTransports.now()})
}
