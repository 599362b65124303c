package sockopt

import (
	"cmp"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/connection"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
	"github.com/caddy-sockopt/caddy-sockopt/socket/trial"
)

// ListenerWrapper sets socket options on the connections that a server accepts, and some on its listening sockets.
// Without options it already prevents the stall of clients that wait for an acknowledgement: quickack is auto.
//
// It works wherever it is listed, before or after "tls", "proxy_protocol" and "http_redirect": it goes beneath them,
// to the connections that the kernel accepts. Behind another plugin's wrapper the options are set all the same, but
// quickack auto and on and metrics have no effect, which is logged. A server takes one sockopt. Unix sockets are left
// untouched. HTTP/3 runs over UDP and has no listener wrapper.
//
// Options that connections inherit, from Go or from the listening socket, are not set
// again on each connection. The keepalive values of the wrapper replace the server's.
//
// An option that the kernel refuses on one connection is counted and logged at a bounded rate; the connection goes on
// without it. What is set on a listening socket that Caddy inherits ("fd/3") stays set when a later configuration no
// longer has it, since the socket is the same.
//
// JSON:
//
//	{"wrapper": "sockopt", "user_timeout": "30s", "dscp": "af21"}
//
// Caddyfile, inside listener_wrappers:
//
//	sockopt {
//		user_timeout 30s
//		dscp af21
//	}
type ListenerWrapper struct {
	options.Options

	resolved   options.Resolved
	inherited  []socket.Setting // of the accept phase
	onListener bool             // they are set on the listening socket
	hidden     string           // the wrapper that may hide connections
	log        *zap.Logger
	server     *server
	passed     []passed
}

// CaddyModule returns the Caddy module information.
func (ListenerWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.sockopt", New: func() caddy.Module { return new(ListenerWrapper) }}
}

// UnmarshalJSON reads the options of a listener.
func (w *ListenerWrapper) UnmarshalJSON(b []byte) error {
	return w.Unmarshal(b, options.Listen|options.Accept)
}

// Provision tries the options on this kernel.
func (w *ListenerWrapper) Provision(ctx caddy.Context) (err error) {
	server, log := serverOf(ctx)
	w.log, w.server = ctx.Logger(), server
	if server.wraps {
		return server.listedTwice("listener")
	}
	if err = w.server.configuration.followMultipath(w.Multipath); err != nil {
		return err
	}
	w.resolved, err = w.Resolve(options.Listen|options.Accept, log)
	if err != nil {
		return err
	}
	if w.server.listensOn(bareNetwork) {
		return fmt.Errorf("server %s has the listener wrapper sockopt, and listens on the network sockopt/, which is the same without options; remove one of them",
			w.server.Name())
	}
	if w.hidden = w.server.hiddenBy(); w.hidden != "" && connection.NeedsConn(&w.resolved) {
		log.Warn("quickack and metrics have no effect behind another listener wrapper; list sockopt before it", zap.String("wrapper", w.hidden))
	}
	w.passed = w.passedBy()
	for _, p := range w.passed {
		log.Warn("HTTP/3 has no "+p.name+" of a listener wrapper; "+p.instead, options.Named(p.option))
	}
	w.inherit(log)
	server.wraps = !server.otherApp // other apps have several listeners
	server.configuration.used.Store(true)
	return nil
}

// passed is an option of the listener wrapper that clients of HTTP/3 pass by.
type passed struct {
	set           bool
	name, instead string
	option        socket.Option
}

// passedBy returns the options that HTTP/3, if the server has it, passes by.
func (w *ListenerWrapper) passedBy() []passed {
	if len(w.server.quicPlaces()) == 0 {
		return nil
	}
	const without = "leave HTTP/3 out with protocols h1 h2"
	marked := slices.ContainsFunc(wrappersOf(w.server.PacketConnWrappersRaw), func(p wrapperJSON) bool { return p.Name == wrapperName && p.DSCP != nil })
	return slices.DeleteFunc([]passed{
		{w.PacingRate != nil, "pacing_rate", "set it in a route as well (sockopt { pacing_rate … } in the site), or " + without, socket.PacingRate},
		{w.UserTimeout != nil, "user_timeout", "if that matters, " + without, socket.UserTimeout},
		{w.DSCP != nil && !marked, "dscp", "set it in packet_conn_wrappers { sockopt { dscp … } } as well, or " + without, socket.TrafficClass},
	}, func(p passed) bool { return !p.set })
}

// inherit finds out which options connections inherit. Without that each is set.
func (w *ListenerWrapper) inherit(log *zap.Logger) {
	settings := w.resolved.Settings[options.Accept]
	if w.server.otherApp || len(settings) == 0 {
		return
	}
	w.onListener = !w.server.sharesListeners()
	// Behind another plugin's wrapper the listening socket may be out of reach.
	w.server.adoptKeepAlive(settings, w.onListener && w.hidden == "")
	var err error
	w.inherited, err = trial.Inherited(w.server.listenConfig(), settings, w.onListener)
	if err != nil {
		log.Warn("cannot try which options connections inherit; each is set on each connection", zap.Error(err))
	}
}

// WrapListener sets the options of the listen phase on the socket of ln. It puts a listener beneath ln, or around it,
// that sets those of the accept phase on each connection.
func (w *ListenerWrapper) WrapListener(ln net.Listener) net.Listener {
	if caddy.IsUnixNetwork(ln.Addr().Network()) {
		return ln
	}
	log := w.log.With(zap.String("server", w.server.Name()), zap.Stringer("address", ln.Addr()))
	resolved := w.resolved
	// quickack auto leaves the kernel's timer alone where a route sets it, too.
	resolved.Ack.KeepDelayedAckMax = resolved.Ack.KeepDelayedAckMax || w.server.routeOptions[socket.DelayedAckMax.Name]
	inner, place := innermost(ln)
	wrapped := &listener{closer: closer{inner, func() {}}, resolved: &resolved, rest: w.resolved.Settings[options.Accept]}
	inEffect, reason := resolved, ""
	if !isBare(inner) && connection.NeedsConn(&w.resolved) {
		inEffect.Ack.Mode, inEffect.Metrics = socket.AckOff, false
		reason = fmt.Sprintf("%s hides the connections of this listener; list sockopt before what wraps it", cmp.Or(w.hidden, fmt.Sprintf("%T", inner)))
		if w.hidden == "" {
			log.Warn("quickack and metrics have no effect on connections of this listener; list sockopt before what wraps it",
				zap.String("listener", fmt.Sprintf("%T", inner)))
		}
	}
	entry := w.server.show(stats.Origin{Direction: stats.Accepted, Address: ln.Addr().String()}, &inEffect, w, log)
	configurations.Lock()
	entry.Reason = reason
	configurations.Unlock()
	wrapped.observer = entry.observer
	if tcp, ok := socket.TCPListener(inner); ok {
		wrapped.closing = entry.observer.Listens(tcp)
		w.prepare(wrapped, tcp, log)
	} else if len(w.resolved.Settings[options.Listen]) > 0 {
		log.Error("cannot reach the listening socket; its options are not set")
	}
	if !place.IsValid() {
		return wrapped
	}
	place.Set(reflect.ValueOf(wrapped))
	return ln
}

// prepare sets the listening socket to the options of the listen phase and to those that connections inherit from it.
// A buffer is among both: the first window that is offered follows from the listening socket's.
func (w *ListenerWrapper) prepare(l *listener, tcp *net.TCPListener, log *zap.Logger) {
	settings := slices.Clone(w.resolved.Settings[options.Listen])
	if w.onListener {
		settings = append(settings, w.inherited...)
	}
	if len(settings)+len(w.inherited) == 0 {
		return
	}
	refused, err := socket.Set(tcp, settings)
	for _, r := range refused {
		log.Error("option refused by the listening socket", options.Named(r.Option), zap.Error(r.Err))
	}
	if err != nil {
		log.Error("setting options on the listening socket", zap.Error(err))
	}
	boundSockets.follow(tcp, log)
	queued, _, queueErr := socket.AcceptQueue(tcp)
	if err != nil || queueErr != nil {
		return
	}
	l.early.Store(int64(queued + maxHandshaking()))
	l.rest = slices.DeleteFunc(slices.Clone(l.resolved.Settings[options.Accept]), func(s socket.Setting) bool {
		isRefused := slices.ContainsFunc(refused, func(r socket.Refusal) bool { return r.Option.Is(s.Option) })
		return !isRefused && slices.ContainsFunc(w.inherited, func(i socket.Setting) bool { return i.Option.Is(s.Option) })
	})
}

// maxHandshaking is how many connections the kernel may be creating from a listening
// socket at one moment: one on each processor.
func maxHandshaking() int { return max(256, runtime.NumCPU()) }

// listener is a listener whose connections have the wrapper's options.
type listener struct {
	closer
	resolved *options.Resolved
	observer *stats.Observer

	rest  []socket.Setting // those of the accept phase that connections do not inherit
	early atomic.Int64     // connections to come that may be older than the socket's options
}

// Accept waits for the next connection. Its errors are those of the inner listener.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return conn, err
	}
	l.observer.Connected()
	settings := l.rest
	if l.early.Load() > 0 && l.early.Add(-1) >= 0 {
		settings = l.resolved.Settings[options.Accept]
	}
	return connection.Attach(conn, settings, l.resolved, l.observer), nil
}

// closer is a listener that calls closing before it is closed.
type closer struct {
	net.Listener
	closing func()
}

// Close closes the listening socket.
func (l *closer) Close() error {
	l.closing()
	return l.Listener.Close()
}
