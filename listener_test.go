package sockopt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

func init() { caddy.RegisterModule(captureWrapper{}) }

// captureWrapper is a listener wrapper that shows a test what stands at its place
// in the configuration. It hands everything on unchanged.
type captureWrapper struct {
	Number uint64 `json:"number"`
}

func (captureWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.listeners.test_capture",
		New: func() caddy.Module { return new(captureWrapper) },
	}
}

func (w *captureWrapper) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next()
	d.NextArg()
	w.Number, err = strconv.ParseUint(d.Val(), 10, 64)
	return err
}

func (w *captureWrapper) WrapListener(ln net.Listener) net.Listener {
	c, ok := captures.Load(w.Number)
	if !ok {
		return ln
	}
	c.(*capture).add(ln, nil)
	return captureListener{ln, c.(*capture)}
}

type captureListener struct {
	net.Listener
	capture *capture
}

func (l captureListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.capture.add(nil, conn)
	}
	return conn, err
}

// capture is what one captureWrapper was given.
type capture struct {
	directive string // how the configuration names it

	mu        sync.Mutex
	listeners []net.Listener
	conns     []net.Conn
}

var (
	captures     sync.Map // by number
	captureCount atomic.Uint64
)

func newCapture(t testing.TB) *capture {
	number := captureCount.Add(1)
	c := &capture{directive: fmt.Sprintf("test_capture %d", number)}
	captures.Store(number, c)
	t.Cleanup(func() {
		captures.Delete(number)
		for _, ln := range c.listeners {
			forget(ln)
		}
	})
	return c
}

// forget drops the counters of a listener, since a later test may have its port.
func forget(ln net.Listener) {
	allCounters.Lock()
	defer allCounters.Unlock()
	delete(allCounters.of, origin{direction: directionAccepted, address: ln.Addr().String()})
}

func (c *capture) add(ln net.Listener, conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ln != nil {
		c.listeners = append(c.listeners, ln)
	}
	if conn != nil {
		c.conns = append(c.conns, conn)
	}
}

// loaded tells the race detector that Caddy has been loaded before connections come.
// Caddy's TLS app still writes to itself while its servers accept already, and reads
// that in each handshake.
func (c *capture) loaded() {
	c.mu.Lock()
	defer c.mu.Unlock()
}

// conn returns the one connection that was accepted.
func (c *capture) conn(t testing.TB) net.Conn {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Len(t, c.conns, 1)
	return c.conns[0]
}

// listener returns the one listener that was wrapped.
func (c *capture) listener(t testing.TB) net.Listener {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Len(t, c.listeners, 1)
	return c.listeners[0]
}

// report returns the report of the sockopt before the capture.
func (c *capture) report(t testing.TB) *report {
	t.Helper()
	return c.listener(t).(*listener).report
}

// errors counts the options that were refused and the connections that could not
// be reached.
func (c *counters) errors() uint64 {
	now := c.now()
	sum := now.Unreachable
	for _, r := range now.Refused {
		sum += r.Count
	}
	return sum
}

// provisioned returns a wrapper as Caddy would have it, and what it logs.
func provisioned(t testing.TB, o Options) (*ListenerWrapper, *zapobserver.ObservedLogs) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	w := &ListenerWrapper{Options: o}
	require.NoError(t, w.Provision(ctx))
	t.Cleanup(func() { require.NoError(t, w.Cleanup()) })
	core, logs := zapobserver.New(zap.DebugLevel)
	w.log = zap.New(core)
	return w, logs
}

// bogus is an option that every kernel refuses.
var bogus = to(socket.Option{Name: "SO_BOGUS"}, 1)

// to is the setting of an option to a number.
func to(o socket.Option, number int64) socket.Setting {
	return socket.Setting{Option: o, Value: socket.Value{Number: number}}
}

// scriptedListener accepts what it is told.
type scriptedListener struct {
	net.Listener
	conns chan net.Conn
	errs  chan error
}

func (l *scriptedListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case err := <-l.errs:
		return nil, err
	}
}

func script(t testing.TB) *scriptedListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() {
		ln.Close()
		forget(ln)
	})
	return &scriptedListener{ln, make(chan net.Conn, 1), make(chan error, 1)}
}

// tcpPair returns both sides of a loopback connection.
func tcpPair(t testing.TB) (accepted, dialed *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	server, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return server.(*net.TCPConn), client.(*net.TCPConn)
}

// Connections that hold their inner one where nobody can reach it.
type (
	hidingConn    struct{ inner net.Conn }
	embeddingConn struct{ net.Conn }
	loopingConn   struct{ net.Conn }
)

func (c loopingConn) NetConn() net.Conn { return c }

// opaqueConn is a connection whose methods must not be called in Accept.
type opaqueConn struct {
	net.Conn
	inner hidingConn
}

func TestAcceptHandsEveryConnectionOver(t *testing.T) {
	pipe := func(testing.TB) net.Conn {
		server, client := net.Pipe()
		t.Cleanup(func() {
			server.Close()
			client.Close()
		})
		return server
	}
	open := func(t testing.TB) net.Conn {
		accepted, _ := tcpPair(t)
		return accepted
	}
	closed := func(t testing.TB) net.Conn {
		accepted, _ := tcpPair(t)
		require.NoError(t, accepted.Close())
		return accepted
	}
	for _, test := range []struct {
		name   string
		conn   func(testing.TB) net.Conn
		errors uint64 // for each connection
		logged string
	}{
		{"open", open, 1, "option refused by a connection, which goes on without it"},
		{"open, embedded", func(t testing.TB) net.Conn { return embeddingConn{open(t)} }, 1, "option refused by a connection, which goes on without it"},
		{"open, behind a pointer", func(t testing.TB) net.Conn { return &embeddingConn{open(t)} }, 1, "option refused by a connection, which goes on without it"},
		{"open, hidden", func(t testing.TB) net.Conn { return opaqueConn{inner: hidingConn{open(t)}} }, 1, "cannot reach the socket of a connection; its options are not set"},
		{"closed", closed, 1, "cannot reach the socket of a connection; its options are not set"},
		{"closed, embedded", func(t testing.TB) net.Conn { return embeddingConn{closed(t)} }, 1, "cannot reach the socket of a connection; its options are not set"},
		{"pipe", pipe, 1, "cannot reach the socket of a connection; its options are not set"},
		{"pipe, embedded", func(t testing.TB) net.Conn { return embeddingConn{pipe(t)} }, 1, "cannot reach the socket of a connection; its options are not set"},
		{"embedding nil", func(testing.TB) net.Conn { return embeddingConn{} }, 1, "cannot reach the socket of a connection; its options are not set"},
		{"nil pointer", func(testing.TB) net.Conn { return (*embeddingConn)(nil) }, 1, "cannot reach the socket of a connection; its options are not set"},
		{"nil TCP connection", func(testing.TB) net.Conn { return (*net.TCPConn)(nil) }, 1, "cannot reach the socket of a connection; its options are not set"},
		{"nil", func(testing.TB) net.Conn { return nil }, 1, "cannot reach the socket of a connection; its options are not set"},
		{"unwrapping to itself", func(testing.TB) net.Conn { return loopingConn{} }, 1, "cannot reach the socket of a connection; its options are not set"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, logs := provisioned(t, Options{QuickAck: new(socket.AckOff)})
			w.settings.of[accept] = []socket.Setting{bogus}
			inner := script(t)
			ln := w.WrapListener(inner)
			const conns = 20
			for range conns {
				conn := test.conn(t)
				inner.conns <- conn
				got, err := ln.Accept()
				require.NoError(t, err)
				if acking, ok := got.(*socket.Conn); ok {
					got = acking.NetConn()
				}
				require.Equal(t, conn, got)
			}
			require.Equal(t, conns*test.errors, ln.(*listener).report.errors())
			lines := logs.FilterMessage(test.logged)
			require.Equal(t, 1, lines.Len(), "lines for %d connections: %v", conns, logs.All())
			require.Equal(t, 1, logs.Len(), "lines for %d connections: %v", conns, logs.All())
		})
	}
}

func TestRefusedOptionLeavesConnectionAlone(t *testing.T) {
	w, _ := provisioned(t, Options{NoDelay: new(false), QuickAck: new(socket.AckOff)})
	w.settings.of[accept] = append([]socket.Setting{bogus}, w.settings.of[accept]...)
	inner := script(t)
	ln := w.WrapListener(inner)
	accepted, dialed := tcpPair(t)
	inner.conns <- accepted
	conn, err := ln.Accept()
	require.NoError(t, err)
	tcp, ok := socket.TCPConn(conn)
	require.True(t, ok)
	require.Same(t, accepted, tcp)
	require.EqualValues(t, 1, ln.(*listener).report.errors())

	_, err = conn.Write([]byte("ping"))
	require.NoError(t, err)
	buf := make([]byte, 4)
	_, err = dialed.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "ping", string(buf))
}

func TestAcceptErrorsPassThrough(t *testing.T) {
	temporary := &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	for _, want := range []error{temporary, net.ErrClosed, errors.New("of a plugin")} {
		t.Run(want.Error(), func(t *testing.T) {
			w, logs := provisioned(t, Options{})
			w.settings.of[accept] = []socket.Setting{bogus}
			inner := script(t)
			ln := w.WrapListener(inner)
			inner.errs <- want
			conn, err := ln.Accept()
			require.Nil(t, conn)
			require.True(t, err == want, "Accept returned %v", err) //nolint:testifylint // ErrorIs would take a wrapped error too
			require.Zero(t, logs.Len())

			accepted, _ := tcpPair(t)
			inner.conns <- accepted
			conn, err = ln.Accept()
			require.NoError(t, err, "after an error")
			require.NotNil(t, conn)
		})
	}
}

func TestUnixListenerIsUntouched(t *testing.T) {
	w, logs := provisioned(t, Options{NoDelay: new(false)})
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, err)
	defer ln.Close()
	require.Same(t, ln, w.WrapListener(ln))
	require.Zero(t, logs.Len())
}

func TestUnreachableListeningSocketIsLogged(t *testing.T) {
	w, logs := provisioned(t, Options{})
	w.settings.of[listen] = []socket.Setting{bogus}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	require.NotNil(t, w.WrapListener(struct{ hidden }{hidden{ln}}))
	require.Equal(t, 1, logs.FilterMessage("cannot reach the listening socket; its options are not set").Len())
}

// hidden has a listener's methods and shows none of its fields.
type hidden struct{ ln net.Listener }

func (h hidden) Accept() (net.Conn, error) { return h.ln.Accept() }

func (h hidden) Close() error { return h.ln.Close() }

func (h hidden) Addr() net.Addr { return h.ln.Addr() }
