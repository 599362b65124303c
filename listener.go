package sockopt

import (
	"crypto/tls"
	"net"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// ListenerWrapper sets socket options on the connections that a server accepts,
// and some on its listening sockets. Without options it already prevents the stall of
// clients that wait for an acknowledgement: quickack is auto.
//
// It must be placed before the "tls" wrapper, which has to be listed for that:
// where it is not, Caddy puts it first. It must also be placed before
// "proxy_protocol" and "http_redirect". Behind one of them the options are set
// all the same, but quickack auto and on and metrics have no effect, which is
// logged. Unix sockets are left untouched. HTTP/3 runs over UDP and has no
// listener wrapper.
//
// Options that connections inherit, from Go or from the listening socket, are not set
// again on each connection. The keepalive values of the wrapper replace the server's.
//
// An option that the kernel refuses on one connection is counted and logged at
// a bounded rate; the connection goes on without it. What is set on a listening
// socket that Caddy inherits ("fd/3") stays set when a later configuration no
// longer has it, since the socket is the same.
type ListenerWrapper struct {
	options.Options

	resolved     options.Resolved
	inherited    []socket.Setting // of the accept phase
	log          *zap.Logger
	server       httpServer
	warnNotFirst func()
}

// CaddyModule returns the Caddy module information.
func (ListenerWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.listeners.sockopt",
		New: func() caddy.Module { return new(ListenerWrapper) },
	}
}

// UnmarshalJSON reads the options of a listener.
func (w *ListenerWrapper) UnmarshalJSON(b []byte) error {
	return w.Unmarshal(b, options.Listen|options.Accept)
}

// Provision tries the options on this kernel.
func (w *ListenerWrapper) Provision(ctx caddy.Context) (err error) {
	w.log = ctx.Logger()
	w.server = serverOf(ctx)
	w.warnNotFirst = sync.OnceFunc(func() {
		activeListeners.withoutAcks(w)
		w.log.Warn("quickack and metrics have no effect here: list sockopt first among the listener wrappers, and tls after it",
			zap.String("quickack", string(w.resolved.Ack)), zap.Bool("metrics", w.resolved.Metrics))
	})
	w.resolved, err = w.Resolve(options.Listen|options.Accept, w.log)
	if err != nil {
		return err
	}
	w.inherit()
	return stats.Register(ctx.GetMetricsRegistry())
}

// inherit finds out which options connections inherit. Without that each is set.
func (w *ListenerWrapper) inherit() {
	settings := w.resolved.Settings[options.Accept]
	if w.server.Server == nil || len(settings) == 0 {
		return
	}
	onListener := !w.server.sharesListeners()
	// Behind another wrapper the listening socket may be out of reach.
	w.server.adoptKeepAlive(settings, onListener && w.isFirst())
	var err error
	w.inherited, err = socket.Inherited(w.server.listenConfig(), settings, onListener)
	if err != nil {
		w.log.Warn("cannot try which options connections inherit; each is set on each connection", zap.Error(err))
	}
}

// isFirst reports whether the server's listeners come to the wrapper as Caddy opened
// them.
func (w *ListenerWrapper) isFirst() bool {
	names := w.server.wrappers()
	return len(names) > 0 && names[0] == w.CaddyModule().ID.Name()
}

// WrapListener sets the options of the listen phase on the socket of ln and
// returns a listener that sets those of the accept phase on each connection.
func (w *ListenerWrapper) WrapListener(ln net.Listener) net.Listener {
	if caddy.IsUnixNetwork(ln.Addr().Network()) {
		return ln
	}
	inEffect := w.resolved
	if reflect.TypeOf(ln) == tlsListener && needsConn(&w.resolved) {
		w.warnNotFirst()
		inEffect.Ack = socket.AckOff
	}
	counters := activeListeners.add(w, w.server, ln.Addr().String(), &inEffect)
	wrapped := &listener{
		Listener: ln,
		wrapper:  w,
		observer: stats.NewObserver(counters, w.log, w.resolved.Metrics),
		all:      w.resolved.Settings[options.Accept],
	}
	wrapped.rest = wrapped.all
	w.prepare(wrapped)
	return wrapped
}

// Cleanup removes the wrapper's listeners from what the admin API shows.
func (w *ListenerWrapper) Cleanup() error {
	activeListeners.remove(w)
	return nil
}

// tlsListener is the type of what Caddy puts before the wrappers listed after "tls".
var tlsListener = reflect.TypeOf(tls.NewListener(nil, nil))

// prepare sets the listening socket to the options of the listen phase and to those
// that connections inherit from it. A buffer is among both: the first window that is
// offered follows from the listening socket's.
func (w *ListenerWrapper) prepare(l *listener) {
	settings := slices.Clone(w.resolved.Settings[options.Listen])
	named := len(settings)
	shared := w.server.sharesListeners()
	if !shared {
		settings = append(settings, w.inherited...)
	}
	if len(settings)+len(w.inherited) == 0 {
		return
	}
	tcp, ok := socket.TCPListener(l.Listener)
	if !ok {
		if named > 0 {
			w.log.Error("cannot reach the listening socket; its options are not set",
				zap.Stringer("address", l.Addr()))
		}
		return
	}
	refused, err := socket.Set(tcp, settings)
	for _, r := range refused {
		w.log.Error("option refused by the listening socket",
			zap.String("option", r.Option.Name), zap.Stringer("address", l.Addr()), zap.Error(r.Err))
	}
	if err != nil {
		w.log.Error("setting options on the listening socket",
			zap.Stringer("address", l.Addr()), zap.Error(err))
	}
	queued, queueErr := socket.Queued(tcp)
	if err != nil || queueErr != nil {
		return
	}
	l.early.Store(int64(queued) + maxHandshaking)
	l.rest = slices.DeleteFunc(slices.Clone(l.all), func(s socket.Setting) bool {
		isRefused := slices.ContainsFunc(refused, func(r socket.Refusal) bool { return r.Option.Is(s.Option) })
		return !isRefused && slices.ContainsFunc(w.inherited, func(i socket.Setting) bool { return i.Option.Is(s.Option) })
	})
}

// maxHandshaking is how many connections the kernel may be creating from a listening
// socket at one moment: one on each processor.
const maxHandshaking = 256

// listener is a listener whose connections have the wrapper's options.
type listener struct {
	net.Listener
	wrapper  *ListenerWrapper
	observer *stats.Observer

	all   []socket.Setting // of the accept phase
	rest  []socket.Setting // those that connections do not inherit
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
		settings = l.all
	}
	attached := attach(conn, settings, &l.wrapper.resolved, l.observer)
	if attached == conn && needsConn(&l.wrapper.resolved) {
		l.wrapper.warnNotFirst()
	}
	return attached, nil
}
