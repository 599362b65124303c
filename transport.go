package sockopt

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-sockopt/caddy-sockopt/internal/connection"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Transport is Caddy's http transport to backends, with socket options on the connections that it dials. Without
// options it already prevents the stall of a backend that has Nagle's algorithm on: quickack is auto.
//
// It takes all options of the http transport. Unix sockets are left untouched. With HTTP/3, which runs over UDP, a
// socket option is an error. Options are set before the SYN, save those that have no effect there, such as nodelay:
// they are set when the handshake is over. With local_address the kernel chooses the local port when it knows the
// destination (IP_BIND_ADDRESS_NO_PORT).
//
// An option that the kernel refuses on one connection is counted and logged at a
// bounded rate; the connection goes on without it.
//
// JSON:
//
//	{"protocol": "sockopt", "max_conns_per_host": 100, "socket": {"keepalive_idle": "30s"}}
//
// Caddyfile, inside reverse_proxy:
//
//	transport sockopt {
//		max_conns_per_host 100
//		socket {
//			keepalive_idle 30s
//		}
//	}
type Transport struct {
	reverseproxy.HTTPTransport

	// The options of the connections to backends. Default: quickack auto, and no other.
	Socket options.Options `json:"socket,omitzero"`

	resolved  options.Resolved
	server    *server
	upstreams struct { // what counts connections, by backend
		sync.Mutex
		of map[string]*stats.Observer
	}
	dialer   *dialer
	afterSYN []socket.Setting // to be set on an open connection
	log      *zap.Logger

	placeholders *placeholders // nil where the configuration names none of its connections
}

// CaddyModule returns the Caddy module information.
func (*Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.sockopt", New: func() caddy.Module { return new(Transport) }}
}

// UnmarshalJSON reads the transport. An option that stands beside socket is an error of ours:
// that of encoding/json would not say where it goes.
func (t *Transport) UnmarshalJSON(b []byte) error {
	type plain Transport // without this method
	err := caddy.StrictUnmarshalJSON(b, (*plain)(t))
	var name string
	if n, _ := fmt.Sscanf(fmt.Sprint(err), "json: unknown field %q", &name); n == 1 && isSocketOption(name) {
		return fmt.Errorf(`%s is a socket option: write it into "socket": {"%[1]s": …}`, name)
	}
	return err
}

// Provision sets up the http transport and tries the named options on this kernel.
func (t *Transport) Provision(ctx caddy.Context) (err error) {
	t.server, t.log = serverOf(ctx)
	if t.transparent() {
		if err := t.oneRequestEach(); err != nil {
			return err
		}
	}
	if err := t.HTTPTransport.Provision(ctx); err != nil {
		return err
	}
	if t.server.configuration.namesUpstream {
		t.placeholders = &placeholders{upstreamTCPInfo, t.log}
	}
	if slices.Contains(t.Versions, "3") {
		if !reflect.ValueOf(t.Socket).IsZero() {
			return errors.New("socket: HTTP/3 runs over UDP, which has none of these options; remove socket, or remove 3 from versions")
		}
		return nil
	}
	t.resolved, err = t.Socket.Resolve(options.Dial, t.log)
	if err != nil {
		return err
	}
	var beforeSYN []socket.Setting
	beforeSYN, t.afterSYN = t.resolved.SplitDial()
	t.upstreams.of = make(map[string]*stats.Observer)
	for _, module := range slices.Backward(ctx.Modules()) {
		if proxy, ok := module.(*reverseproxy.Handler); ok {
			for _, name := range backendsOf(proxy) {
				t.observer(name)
			}
			break // not those of an outer proxy
		}
	}
	if t.dialer, err = newDialer(&t.HTTPTransport, beforeSYN, t.transparent()); err != nil {
		return err
	}
	t.dialer.SetMultipathTCP(t.resolved.Multipath)
	t.Transport.DialContext = t.dial
	if t.Transport.DialTLSContext != nil {
		t.Transport.DialTLSContext = t.dialTLS
	}
	return nil
}

func (t *Transport) transparent() bool { return t.Socket.Transparent != nil && *t.Socket.Transparent }

// oneRequestEach makes a connection serve one request: kept connections of each client would exhaust the backend.
func (t *Transport) oneRequestEach() error {
	switch {
	case len(t.Versions) > 0 && !slices.Equal(t.Versions, []string{"1.1"}):
		return fmt.Errorf("transparent: a connection is one client's, so it speaks HTTP/1.1; remove %s from versions",
			strings.Join(slices.DeleteFunc(slices.Clone(t.Versions), func(v string) bool { return v == "1.1" }), " and "))
	case t.LocalAddress != "":
		return errors.New("transparent: connections have the client's address; remove local_address")
	}
	if t.KeepAlive != nil {
		t.log.Warn("transparent: each request has a connection of its own; keepalive has no effect")
	}
	t.log.Info("transparent: each request to the backend has a connection of its own, over HTTP/1.1")
	t.Versions = []string{"1.1"}
	t.KeepAlive = &reverseproxy.KeepAlive{Enabled: new(false)}
	return nil
}

// dial opens a connection to a backend, with its options set and its PROXY header sent.
func (t *Transport) dial(ctx context.Context, network, address string) (net.Conn, error) {
	network, address, upstream := destination(ctx, network, address)
	observer := t.observer(upstream)
	conn, took, err := t.dialer.dial(ctx, network, address, observer)
	if err != nil {
		return nil, err
	}
	if _, ok := conn.(*net.TCPConn); ok { // and no Unix socket
		observer.Connected()
		conn = connection.Attach(conn, t.afterSYN, &t.resolved, observer)
		if acking, ok := socket.AckingConn(conn); ok {
			acking.SetConnectTime(took)
		}
		if tcp, ok := conn.(tcpConn); ok && (t.ReadTimeout > 0 || t.WriteTimeout > 0) {
			conn = &timeoutConn{tcp, time.Duration(t.ReadTimeout), time.Duration(t.WriteTimeout)}
		}
	}
	if t.ProxyProtocol != "" {
		if err := sendProxyHeader(ctx, conn, t.ProxyProtocol, t.log); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// mostUpstreams bounds the series of a transport: it counts connections to further
// addresses, which dynamic upstreams and placeholders can have, as those to other.
const mostUpstreams = 100

// observer returns what counts the connections to a backend.
func (t *Transport) observer(upstream string) *stats.Observer {
	upstream = strings.ToValidUTF8(upstream, "\ufffd") // a label that is not makes the whole scrape an error
	t.upstreams.Lock()
	defer t.upstreams.Unlock()
	of := t.upstreams.of
	if of[upstream] == nil && len(of) >= mostUpstreams {
		upstream = "other"
	}
	if of[upstream] == nil {
		of[upstream] = t.server.show(stats.Origin{Direction: stats.Dialed, Upstream: upstream}, &t.resolved, t, t.log.With(zap.String("upstream", upstream))).observer
	}
	return of[upstream]
}

// backendsOf returns the addresses of the backends of a reverse_proxy, as far as the
// configuration names them without placeholders.
func backendsOf(proxy *reverseproxy.Handler) (addresses []string) {
	for _, upstream := range proxy.Upstreams {
		if !strings.Contains(upstream.Dial, "{") {
			addresses = append(addresses, upstream.Dial)
		}
	}
	return addresses
}

// dialTLS replaces the http transport's own, which wraps the connection before anybody can see it. There is one where
// the server name has a placeholder, and where a PROXY protocol header goes before the handshake.
func (t *Transport) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := t.Transport.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := cmp.Or(t.Transport.TLSClientConfig.Clone(), new(tls.Config))
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok && strings.Contains(config.ServerName, "{") {
		config.ServerName = repl.ReplaceAll(config.ServerName, "")
	}
	if caddyhttp.GetVar(ctx, h1OnlyVar) == true {
		config.NextProtos = nil
	}
	if t.Transport.TLSHandshakeTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t.Transport.TLSHandshakeTimeout,
			fmt.Errorf("TLS handshake takes longer than %s", t.Transport.TLSHandshakeTimeout))
		defer cancel()
	}
	tlsConn := tls.Client(conn, config)
	if err := tlsConn.HandshakeContext(ctx); err != nil {
		_ = tlsConn.Close()
		return nil, err
	}
	return tlsConn, nil
}

// timeoutConn bounds every read and write, as the http transport's own
// connections do where read_timeout or write_timeout is set.
type timeoutConn struct {
	tcpConn
	read, write time.Duration
}

// tcpConn is a *net.TCPConn, or a *socket.Conn, which is one as well.
type tcpConn interface {
	net.Conn
	io.ReaderFrom
	io.WriterTo
	syscall.Conn
	CloseRead() error
	CloseWrite() error
}

// NetConn returns the connection without the bounds.
func (c *timeoutConn) NetConn() net.Conn { return c.tcpConn }

// Read reads within the read timeout. Like the http transport it goes on where the deadline cannot be set.
func (c *timeoutConn) Read(p []byte) (int, error) {
	if c.read > 0 {
		_ = c.SetReadDeadline(time.Now().Add(c.read))
	}
	return c.tcpConn.Read(p)
}

// Write writes within the write timeout.
func (c *timeoutConn) Write(p []byte) (int, error) {
	if c.write > 0 {
		_ = c.SetWriteDeadline(time.Now().Add(c.write))
	}
	return c.tcpConn.Write(p)
}
