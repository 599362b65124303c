package sockopt

import (
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/connection"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// routed is a request with the options of its routes.
type routed struct {
	*http.Request
	conn     *connection.Served // nil where it has no TCP connection
	handlers []*Handler         // the one that counts most is first
	hold     *socket.Hold
	late     []socket.Override // what the response has set
	response *response         // nil where no route changes how it is written
}

// routedVar is the variable of a request that has its *routed.
const routedVar = "sockopt.routed"

// shared reports whether other requests may use the connection at the same time.
func (r *routed) shared() bool { return r.ProtoMajor > 1 }

// add adds the options of a handler, which count more than those of handlers before it.
func (r *routed) add(h *Handler) error {
	r.handlers = slices.Insert(r.handlers, 0, h)
	return r.update()
}

// set sets an option that the response brings with it.
func (r *routed) set(o socket.Option) {
	for _, h := range r.handlers {
		if i := slices.IndexFunc(h.late, func(v socket.Override) bool { return v.Option.Is(o) }); i >= 0 {
			r.late = append(r.late, h.late[i])
			_ = r.update() // the connection was reached before
			return
		}
	}
}

func (r *routed) update() error {
	hold := &socket.Hold{Overrides: r.handlers[0].overrides}
	if len(r.handlers) > 1 || len(r.late) > 0 {
		hold.Overrides = slices.Clone(r.late)
		for _, h := range r.handlers {
			hold.Overrides = append(hold.Overrides, h.overrides...)
		}
	}
	if err := r.conn.Hold(hold, r.hold); err != nil {
		return err
	}
	r.hold = hold
	return nil
}

// corks reports whether the route that counts has cork on, and whether that does no harm.
// A connection with a request's body and Connection: close net/http closes without reading
// the rest of the body, and the kernel then drops what is corked (tcp_close in
// net/ipv4/tcp.c).
func (r *routed) corks() bool {
	i := slices.IndexFunc(r.handlers, func(h *Handler) bool { return h.Cork != nil })
	return *r.handlers[i].Cork && (!r.Close || r.ContentLength == 0)
}

// end is called when the handlers have returned. Those of an error come afterwards.
func (r *routed) end() {
	caddyhttp.SetVar(r.Context(), routedVar, nil)
	if r.hold != nil {
		r.conn.End(r.hold, r.shared())
	}
}
