package sockopt

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// provisioned returns a wrapper as Caddy would have it, and what it logs afterwards. The
// server may be nil.
func provisioned(t testing.TB, o options.Options, server *caddyhttp.Server) (*ListenerWrapper, *observer.ObservedLogs) {
	t.Helper()
	parent := context.Background()
	if server != nil {
		parent = context.WithValue(parent, caddyhttp.ServerCtxKey, server)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: parent})
	t.Cleanup(cancel)
	w := &ListenerWrapper{Options: o}
	require.NoError(t, w.Provision(ctx))
	core, logs := observer.New(zap.DebugLevel)
	w.log = zap.New(core)
	return w, logs
}

// errorsOf counts the options that were refused and the connections that could not be
// reached.
func errorsOf(c *stats.Counters) uint64 {
	sum := stats.Unreachable.Of(c)
	for _, r := range c.Refusals() {
		sum += r.Count
	}
	return sum
}

// bogus is an option that every kernel refuses.
var bogus = to(socket.Option{Name: "SO_BOGUS"}, 1)

// to is the setting of an option to a number.
func to(o socket.Option, number int64) socket.Setting {
	return socket.Setting{Option: o, Value: socket.Value{Number: number}}
}

// scriptedListener accepts given connections.
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
	t.Cleanup(func() { ln.Close() })
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

// Connections whose inner one is out of reach.
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
	const (
		refused     = "option refused by a connection, which goes on without it"
		unreachable = "cannot reach the socket of a connection; its options are not set"
	)
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
		logged string
	}{
		{"open", open, refused},
		{"open, embedded", func(t testing.TB) net.Conn { return embeddingConn{open(t)} }, refused},
		{"open, behind a pointer", func(t testing.TB) net.Conn { return &embeddingConn{open(t)} }, refused},
		{"open, hidden", func(t testing.TB) net.Conn { return opaqueConn{inner: hidingConn{open(t)}} }, unreachable},
		{"closed", closed, unreachable},
		{"closed, embedded", func(t testing.TB) net.Conn { return embeddingConn{closed(t)} }, unreachable},
		{"pipe", pipe, unreachable},
		{"pipe, embedded", func(t testing.TB) net.Conn { return embeddingConn{pipe(t)} }, unreachable},
		{"embedding nil", func(testing.TB) net.Conn { return embeddingConn{} }, unreachable},
		{"nil pointer", func(testing.TB) net.Conn { return (*embeddingConn)(nil) }, unreachable},
		{"nil TCP connection", func(testing.TB) net.Conn { return (*net.TCPConn)(nil) }, unreachable},
		{"nil", func(testing.TB) net.Conn { return nil }, unreachable},
		{"unwrapping to itself", func(testing.TB) net.Conn { return loopingConn{} }, unreachable},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, logs := provisioned(t, options.Options{QuickAck: new(socket.AckOff)}, nil)
			w.resolved.Settings[options.Accept] = []socket.Setting{bogus}
			inner := script(t)
			ln := w.WrapListener(inner).(*listener)
			counters := ln.observer.Counters
			connections, errs := stats.Connections.Of(counters), errorsOf(counters)
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
			require.EqualValues(t, conns, stats.Connections.Of(counters)-connections)
			require.EqualValues(t, conns, errorsOf(counters)-errs)
			require.Equal(t, 1, logs.Len(), "%v", logs.All())
			require.Equal(t, test.logged, logs.All()[0].Message)
		})
	}
}

func TestRefusedOptionLeavesConnectionAlone(t *testing.T) {
	w, _ := provisioned(t, options.Options{NoDelay: new(false), QuickAck: new(socket.AckOff)}, nil)
	w.resolved.Settings[options.Accept] = append([]socket.Setting{bogus}, w.resolved.Settings[options.Accept]...)
	inner := script(t)
	ln := w.WrapListener(inner)
	accepted, dialed := tcpPair(t)
	inner.conns <- accepted
	conn, err := ln.Accept()
	require.NoError(t, err)
	tcp, ok := socket.TCPConn(conn)
	require.True(t, ok)
	require.Same(t, accepted, tcp)

	_, err = conn.Write([]byte("ping"))
	require.NoError(t, err)
	got := make([]byte, 4)
	_, err = io.ReadFull(dialed, got)
	require.NoError(t, err)
	require.Equal(t, "ping", string(got))
}

func TestAcceptErrorsPassThrough(t *testing.T) {
	temporary := &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	for _, want := range []error{temporary, net.ErrClosed, errors.New("of a plugin")} {
		t.Run(want.Error(), func(t *testing.T) {
			w, logs := provisioned(t, options.Options{QuickAck: new(socket.AckOff)}, nil)
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
	w, logs := provisioned(t, options.Options{NoDelay: new(false)}, nil)
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, err)
	defer ln.Close()
	require.Same(t, ln, w.WrapListener(ln))
	require.Zero(t, logs.Len())
}

// hidden has a listener's methods and shows none of its fields.
type hidden struct{ ln net.Listener }

func (h hidden) Accept() (net.Conn, error) { return h.ln.Accept() }
func (h hidden) Close() error              { return h.ln.Close() }
func (h hidden) Addr() net.Addr            { return h.ln.Addr() }

// TestUnreachableListener: the socket of a plugin's listener cannot be set, and its
// connections do not acknowledge.
func TestUnreachableListener(t *testing.T) {
	w, logs := provisioned(t, options.Options{}, nil)
	w.resolved.Settings[options.Listen] = []socket.Setting{bogus}
	ln := script(t)
	require.NotNil(t, w.WrapListener(hidden{ln}))
	require.Equal(t, 1, logs.FilterMessage("cannot reach the listening socket; its options are not set").Len())
	if !socket.QuickAck.Supported() {
		return
	}
	const noEffect = "quickack and metrics have no effect on connections of this listener; list sockopt before what wraps it"
	require.Equal(t, 1, logs.FilterMessage(noEffect).Len())
	require.Equal(t, "off", entriesOf(stats.Accepted)[0].QuickAck)
}

// TestPlacedBeneath: the wrapper goes beneath TLS, where the kernel's connections are.
func TestPlacedBeneath(t *testing.T) {
	w, logs := provisioned(t, options.Options{}, nil)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer inner.Close()
	ln := tls.NewListener(inner, &tls.Config{Certificates: []tls.Certificate{{}}})
	require.Same(t, ln, w.WrapListener(ln))
	found, _ := innermost(ln)
	require.IsType(t, new(listener), found)
	require.Same(t, inner, found.(*listener).Listener)
	require.Zero(t, logs.Len())
}
