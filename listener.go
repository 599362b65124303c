package sockopt

import (
	"crypto/tls"
	"net"
	"reflect"
	"sync"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// ListenerWrapper sets socket options on the connections that a server accepts,
// and some on its listening sockets too. Without any option named it already
// cures the stall of clients that wait for an acknowledgement: quickack is auto.
//
// It must be placed before the "tls" wrapper, which has to be listed for that:
// where it is not, Caddy puts it first. It must also be placed before
// "proxy_protocol" and "http_redirect". Behind one of them the options are set
// all the same, but quickack auto and on and metrics have no effect, which is
// logged. Unix sockets are left untouched. HTTP/3 runs over UDP and never meets a
// listener wrapper.
//
// Options that connections come with, from Go or from the listening socket, are
// left out. For that a listening socket which no other configuration shares is set to
// keepalive_idle and keepalive_count, and one without MPTCP to most options of the
// accept phase; and Go hears the wrapper's keepalive_idle, keepalive_interval and
// keepalive_count in place of the server's.
//
// An option that the kernel refuses on one connection is counted and logged at
// a bounded rate; the connection goes on without it. What is set on a listening
// socket that Caddy inherits ("fd/3") stays set when a later configuration no
// longer names it, since the socket is the same.
type ListenerWrapper struct {
	Options

	settings settings
	log      *zap.Logger
	server   *caddyhttp.Server
	tooLate  func()
}

// CaddyModule returns the Caddy module information.
func (ListenerWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.listeners.sockopt",
		New: func() caddy.Module { return new(ListenerWrapper) },
	}
}

// Provision tries the named options on this kernel.
func (w *ListenerWrapper) Provision(ctx caddy.Context) (err error) {
	w.log = ctx.Logger()
	w.server = serverOf(ctx)
	w.tooLate = sync.OnceFunc(func() {
		activeListeners.withoutAcks(w)
		w.log.Warn("quickack and metrics have no effect here: list sockopt first among the listener wrappers, and tls after it",
			zap.String("quickack", string(w.settings.ack)), zap.Bool("metrics", w.settings.metrics))
	})
	w.settings, err = w.resolve(listen|accept, w.log)
	if err != nil {
		return err
	}
	w.tellGo()
	return registerMetrics(ctx)
}

// WrapListener sets the options of the listen phase on the socket of ln and
// returns a listener that sets those of the accept phase on every connection.
func (w *ListenerWrapper) WrapListener(ln net.Listener) net.Listener {
	if caddy.IsUnixNetwork(ln.Addr().Network()) {
		return ln
	}
	handed := w.prepare(ln)
	address := ln.Addr().String()
	from := origin{direction: directionAccepted, address: address}
	counters := countersOf(from)
	inEffect := w.settings
	if reflect.TypeOf(ln) == tlsListener && w.settings.needConn() {
		w.tooLate()
		inEffect.ack = socket.AckOff
	}
	activeListeners.add(w, w.server, address, inEffect, counters)
	report := newReport(counters, w.log)
	if w.settings.metrics {
		report.atClose = metricsAtClose(from)
	}
	return &listener{ln, w, handed, report}
}

// Cleanup takes the wrapper's listeners out of what the admin API shows.
func (w *ListenerWrapper) Cleanup() error {
	activeListeners.remove(w)
	return nil
}

// tlsListener is the type of what Caddy puts before the wrappers listed after "tls".
var tlsListener = reflect.TypeOf(tls.NewListener(nil, nil))

// prepare sets the options of the listen phase, and returns those of the accept
// phase. A buffer belongs to both: it raises the first window that is offered,
// which the handshake fixes.
func (w *ListenerWrapper) prepare(ln net.Listener) *handed {
	atAccept := &handed{all: w.settings.of[accept]}
	named := w.settings.of[listen]
	if len(named)+len(atAccept.all) == 0 {
		return atAccept
	}
	tcp, ok := socket.TCPListener(ln)
	if !ok {
		if len(named) > 0 {
			w.log.Error("cannot reach the listening socket; its options are not set",
				zap.Stringer("address", ln.Addr()))
		}
		return atAccept
	}
	refused, err := socket.Set(tcp, named)
	for _, r := range refused {
		w.log.Error("option refused by the listening socket",
			zap.String("option", r.Option.Name), zap.Stringer("address", ln.Addr()), zap.Error(r.Err))
	}
	if err != nil {
		w.log.Error("setting options on the listening socket",
			zap.Stringer("address", ln.Addr()), zap.Error(err))
	}
	if err != nil {
		return atAccept
	}
	return w.hand(tcp)
}

// listener is a listener whose connections have the wrapper's options.
type listener struct {
	net.Listener
	wrapper *ListenerWrapper
	handed  *handed
	report  *report
}

// Accept waits for the next connection. Its errors are the inner listener's alone.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return conn, err
	}
	l.report.connections.Add(1)
	return l.wrapper.outfit(conn, l.handed.settings(conn), l.report), nil
}

// outfit sets what is named on a connection. It returns conn itself where nothing
// needs a wrapped connection, or where others have wrapped it already: HTTP/2
// needs the *tls.Conn that it knows.
func (w *ListenerWrapper) outfit(conn net.Conn, named []socket.Setting, report *report) net.Conn {
	tcp, ok := w.settings.reach(conn, named, report)
	if !ok {
		return conn
	}
	bare := conn == net.Conn(tcp)
	if !bare && w.settings.needConn() {
		w.tooLate()
	}
	if acking := w.settings.outfit(tcp, named, bare, report); acking != nil {
		return acking
	}
	return conn
}
