package sockopt

import (
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
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

// add adds the options of a handler.
func (r *routed) add(h *Handler) {
	i := slices.IndexFunc(r.handlers, func(other *Handler) bool { return h.nesting.within(other.nesting) })
	if i < 0 {
		i = len(r.handlers)
	}
	r.handlers = slices.Insert(r.handlers, i, h)
	r.update()
}

// set sets an option that the response brings with it.
func (r *routed) set(o socket.Option) {
	for _, h := range r.handlers {
		for _, v := range h.late {
			if v.Option.Is(o) {
				r.late = append(r.late, v)
				r.update()
				return
			}
		}
	}
}

func (r *routed) update() {
	if r.conn == nil {
		return
	}
	hold := &socket.Hold{Overrides: r.handlers[0].overrides}
	if len(r.handlers) > 1 || len(r.late) > 0 {
		hold.Overrides = slices.Clone(r.late)
		for _, h := range r.handlers {
			hold.Overrides = append(hold.Overrides, h.overrides...)
		}
	}
	r.conn.Hold(hold, r.hold)
	r.hold = hold
}

// first returns the handler that counts of those that set something; nil where none does.
func (r *routed) first(sets func(*Handler) bool) *Handler {
	if i := slices.IndexFunc(r.handlers, sets); i >= 0 {
		return r.handlers[i]
	}
	return nil
}

// corks reports whether the route that counts has cork on, and whether that does no harm. A connection with a
// request's body and Connection: close net/http closes without reading the rest of the body, and the kernel then
// drops what is corked (tcp_close in net/ipv4/tcp.c).
func (r *routed) corks() bool {
	h := r.first(func(h *Handler) bool { return h.Cork != nil })
	return h != nil && *h.Cork && r.conn != nil && !r.shared() && (!r.Close || r.ContentLength == 0)
}

// end is called when the handlers have returned. Those of an error come afterwards.
func (r *routed) end() {
	caddyhttp.SetVar(r.Context(), routedVar, nil)
	if r.conn != nil {
		r.conn.End(r.hold, r.shared())
	}
}

// nesting is where a handler stands in the configuration. A handler in a deeper block counts
// more, and of those in one block the first.
type nesting struct {
	named int // of a named route: its number
	depth int
}

// nestingOf returns the block of the handler that is provisioned. Named routes come after all
// others (App.Provision in caddyhttp/app.go), and what is yet to come has its raw handlers.
func nestingOf(ctx caddy.Context, s *caddyhttp.Server) nesting {
	b := nesting{depth: len(ctx.Modules())}
	toCome := func(r caddyhttp.Route) bool { return len(r.HandlersRaw) > 0 }
	if len(s.NamedRoutes) == 0 || slices.ContainsFunc(s.Routes, toCome) || s.Errors != nil && slices.ContainsFunc(s.Errors.Routes, toCome) {
		return b
	}
	b.named = 1
	for _, r := range s.NamedRoutes {
		if !toCome(*r) {
			b.named++
		}
	}
	return b
}

// within reports whether b is deeper than a block that the request came to before. A named
// route is deeper than what invokes it.
func (b nesting) within(before nesting) bool {
	if b.named != before.named {
		return b.named > 0
	}
	return b.depth > before.depth
}
