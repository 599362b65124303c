package sockopt

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

func init() { caddy.RegisterModule(observer{}) }

// observer is a listener wrapper that shows a test the sockets of the Caddy in
// its process, and changes nothing. Placed after sockopt it sees what sockopt
// made of them.
type observer struct{}

// observe is the observer's name in a Caddyfile.
const observe = "test_observer"

// The sockets that were observed: listening ones by port, the latest only, and
// accepted ones by the client's address.
var listening, accepted sync.Map

func (observer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.listeners." + observe,
		New: func() caddy.Module { return new(observer) },
	}
}

func (observer) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (observer) WrapListener(ln net.Listener) net.Listener {
	if _, port, err := net.SplitHostPort(ln.Addr().String()); err == nil {
		listening.Store(port, ln)
	}
	return observedListener{ln}
}

type observedListener struct{ net.Listener }

func (l observedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		accepted.Store(conn.RemoteAddr().String()+conn.LocalAddr().String(), acceptance{conn, l.Listener})
	}
	return conn, err
}

// acceptance is a connection and the listener that accepted it.
type acceptance struct {
	net.Conn
	by net.Listener
}

// listeningSocket returns the latest socket that Caddy listens with on addr.
func listeningSocket(t testing.TB, addr string) *net.TCPListener {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	ln, ok := listening.Load(port)
	require.True(t, ok, "nobody listens on %s", addr)
	tcp, ok := socket.TCPListener(ln.(net.Listener))
	require.True(t, ok, "no TCP listener in %T", ln)
	return tcp
}

// acceptedSocket returns Caddy's side of a client's connection, and whether the
// listener of the latest configuration accepted it.
func acceptedSocket(t testing.TB, client net.Conn) (socketOf *net.TCPConn, latest bool) {
	t.Helper()
	var a acceptance
	require.Eventually(t, func() bool {
		found, ok := accepted.Load(client.LocalAddr().String() + client.RemoteAddr().String())
		if ok {
			a = found.(acceptance)
		}
		return ok
	}, patience, time.Millisecond, "not accepted")
	tcp, ok := socket.TCPConn(a.Conn)
	require.True(t, ok, "no TCP connection in %T", a.Conn)
	by, _ := socket.TCPListener(a.by)
	return tcp, by == listeningSocket(t, client.RemoteAddr().String())
}

// wrappers are the global options of a server whose listener wrappers are lines.
func wrappers(lines string) string {
	return "servers {\nlistener_wrappers {\n" + lines + "\n}\n}"
}
