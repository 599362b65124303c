package sockopt

import (
	"fmt"
	"net/http"
	"sync"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Handler sets socket options on the client's connection while a request is
// served, and puts back what it changed when the response has been handed to the
// kernel. What the kernel still holds in its send buffer then leaves with what was
// put back.
//
// A connection of HTTP/2 is shared by the requests that run at the same time: of
// two that name an option the later one counts while both run, then the other, and
// what was there before comes back after the last. Because the options are put
// back when a request's handlers return, its response is flushed then: over HTTP/2
// a response whose handler sets no Content-Length has none.
//
// It costs a setsockopt(2) for each option on the way in and one on the way out,
// none where the value is there already, and once for a connection a getsockopt(2)
// for each option. A buffer takes two more on the way out, since the kernel tunes
// it again afterwards; before Linux 5.14 it does not. The kernel goes on pacing a
// connection by its own estimate once pacing_rate was set.
//
// A connection that is upgraded, to WebSocket for one, keeps the options of its route to
// its end: cork, too.
//
// Requests over HTTP/3 or Unix sockets are passed through, which is logged once at
// debug. An option that the kernel refuses on one connection is counted and logged
// at a bounded rate; the request goes on without it.
type Handler struct {
	Options

	settings settings
	report   *report
	noTCP    func(proto string)
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.sockopt",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision tries the named options on this kernel.
func (h *Handler) Provision(ctx caddy.Context) (err error) {
	log := ctx.Logger()
	if h.settings, err = h.resolve(route, log); err != nil {
		return err
	}
	if len(h.settings.effects) == 0 {
		return fmt.Errorf("sockopt names no option for its route; it can be %s", lineNames(h.lines(route)))
	}
	for _, c := range h.settings.overrides {
		if _, err := socket.Default(false, c.setting.Option); err != nil {
			return fmt.Errorf("%s cannot be read, so that it could not be put back: %w", c.setting.Option.Name, err)
		}
	}
	var once sync.Once
	h.noTCP = func(proto string) {
		once.Do(func() {
			log.Debug("a request came over no TCP connection; it goes on without the options", zap.String("proto", proto))
		})
	}
	server := serverOf(ctx)
	showConnections(server)
	nth := activeRoutes.count(server, "")
	if nth == 0 { // once for a server
		settle(server)
	}
	counters := countersOf(origin{directionRoute, serverName(server), "", nth})
	h.report = newReport(counters, log)
	activeRoutes.add(h, server, "", h.settings, counters)
	return registerMetrics(ctx)
}

// Cleanup takes the handler out of what the admin API shows.
func (h *Handler) Cleanup() error {
	activeRoutes.remove(h)
	return nil
}

// ServeHTTP has the next handler serve the request with the options set.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	conn, ok := servedBy(r)
	if !ok {
		h.noTCP(r.Proto)
		return next.ServeHTTP(w, r)
	}
	held := &hold{h.settings.overrides, h.report}
	if conn.holdUntilIdle(r, held) {
		return next.ServeHTTP(w, r)
	}
	conn.acquire(held)
	defer conn.release(held)
	if err := next.ServeHTTP(w, r); err != nil {
		return err // whoever handles it has not yet written the response
	}
	_ = http.NewResponseController(w).Flush() // net/http tells whoever writes again
	return nil
}
