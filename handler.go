package sockopt

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/connection"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
	"github.com/caddy-sockopt/caddy-sockopt/socket/trial"
)

// Handler sets socket options on the client's connection while a request is served, and restores them when the response
// has been handed to the kernel. What the kernel still holds in its send buffer leaves with the restored values.
//
// Requests that run at the same time share an HTTP/2 connection. If two of them set an option, it has the value of the
// later one while both run, then the other's. The value from before comes back after the last. While other requests
// run, the values of one may outlast its handlers by 100 ms, since the end of its response is sent after they return.
//
// Of the handlers of one request that set an option, one in a deeper block counts more, and
// of those in one block the first.
//
// pacing_rate holds over every protocol, to the end of each response: what is written waits
// for the limit, which the requests of a connection share. It ends with an upgrade, after
// which the kernel's rate is left. It cannot be less than the server's write_min_rate.
//
// It costs a setsockopt(2) for each option before and one after the request, unless the connection has the value
// already, and once for each connection a getsockopt(2) for each option. A buffer takes two more afterwards, so that
// the kernel tunes it again; kernels before 5.14 do not. The kernel goes on pacing a connection by its own estimate
// once pacing_rate was set.
//
// cork holds segments back from the header of the response on. A flush sends what is there. Over HTTP/2, where it
// would hold back the frames of other requests, it is not set, which is counted. Nor is it for a request with a body
// and Connection: close, whose response could be lost when the connection is closed before the whole body has come.
//
// A connection that is upgraded, for example to WebSocket, keeps the options of its route to its end, without cork.
//
// Over HTTP/3 and Unix sockets only pacing_rate holds, which is logged once at debug level. An option that the kernel
// refuses on one connection is counted and logged at a bounded rate; the request goes on without it.
//
// JSON:
//
//	{"handler": "sockopt", "pacing_rate": 5242880, "pacing_after": 1048576}
//
// Caddyfile, in a site block:
//
//	sockopt {
//		pacing_rate 5MiB
//		pacing_after 1MiB
//	}
type Handler struct {
	options.Options

	nesting   nesting
	overrides []socket.Override // while the request is served
	late      []socket.Override // those that the response brings with it
	observer  *stats.Observer
	noTCP     sync.Once // is said
	log       *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.sockopt", New: func() caddy.Module { return new(Handler) }}
}

// UnmarshalJSON reads the options of a route.
func (h *Handler) UnmarshalJSON(b []byte) error { return h.Unmarshal(b, options.Route) }

// Provision tries the options on this kernel.
func (h *Handler) Provision(ctx caddy.Context) error {
	server, log := serverOf(ctx)
	resolved, err := h.Resolve(options.Route, log)
	if err == nil {
		err = h.checkPacing(server.WriteMinRate)
	}
	if err != nil {
		return err
	}
	h.nesting = nestingOf(ctx, server.Server)
	if len(resolved.Effects) == 0 {
		return fmt.Errorf("sockopt in a site or route sets options for its requests and has none; it can be %s; "+
			"for all connections of a server write servers { listener_wrappers { sockopt } } in the global options",
			options.Names(h.Lines(options.Route)))
	}
	for _, o := range resolved.Overrides {
		_, err := trial.Default(trial.Unconnected, o.Option)
		if errors.Is(err, errors.ErrUnsupported) {
			return fmt.Errorf("options of a route need Linux, this is %s; leave sockopt out of the route", runtime.GOOS)
		}
		if err != nil {
			return fmt.Errorf("%s cannot be read, and so not be restored: %w", o.Option.Name, err)
		}
	}
	h.log = log
	if h.PacingAfter != nil {
		resolved.Effects = append(resolved.Effects, options.Effect{Option: "pacing_after", Requested: h.PacingAfter.String(), Effective: h.PacingAfter.String()})
	}
	server.restoreWhenIdle()
	h.observer = server.show(stats.Origin{Direction: stats.Route}, &resolved, h, log).observer
	for _, o := range resolved.Overrides {
		server.routeOptions[o.Option.Name] = true
		if !o.Option.Is(socket.PacingRate) { // whose limit holds where a connection refuses the kernel's rate
			o.Observer = h.observer
		}
		if o.Option.Is(socket.Cork) || o.Option.Is(socket.PacingRate) && h.PacingAfter != nil {
			h.late = append(h.late, o)
		} else {
			h.overrides = append(h.overrides, o)
		}
	}
	return nil
}

// ServeHTTP lets the next handler serve the request with the options set.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	req, ok := caddyhttp.GetVar(r.Context(), routedVar).(*routed)
	if !ok {
		req = &routed{Request: r}
		req.conn, _ = connection.ServedBy(r)
		caddyhttp.SetVar(r.Context(), routedVar, req)
		defer req.end()
	}
	if req.conn == nil {
		h.noTCP.Do(func() {
			h.log.Debug("a request came over no TCP connection; it goes on without the options, but for pacing_rate", zap.String("proto", r.Proto))
		})
	}
	req.add(h)
	if h.Cork != nil && *h.Cork && req.conn != nil && req.shared() {
		h.observer.Refused(req.conn.TCP, socket.Cork, errHTTP2)
	}
	if req.response == nil && (h.Cork != nil || h.PacingRate != nil) {
		req.response = &response{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, req: req}
		w = req.response
	}
	return next.ServeHTTP(w, r)
}

var errHTTP2 = errors.New("HTTP/2")
