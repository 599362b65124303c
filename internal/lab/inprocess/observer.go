package inprocess

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

func init() { caddy.RegisterModule(observer{}) }

// Observer is the name in a Caddyfile of a listener wrapper that shows a test the
// listeners and connections of the Caddy in its process, and changes nothing. Behind
// sockopt it sees what sockopt made of them.
const Observer = "test_observer"

// observed has what the observers saw, by port, or by address where there is no port. A
// new listener there takes the place of the one before.
var observed = struct {
	sync.Mutex
	at map[string]*observation
	by map[string]accepted // by the addresses of the client's connection
}{at: make(map[string]*observation), by: make(map[string]accepted)}

type observation struct {
	listener net.Listener
	conns    []net.Conn
}

type accepted struct {
	conn net.Conn
	on   *observation
}

type observer struct{}

func (observer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.listeners." + Observer,
		New: func() caddy.Module { return new(observer) },
	}
}

func (observer) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (observer) WrapListener(ln net.Listener) net.Listener {
	o := &observation{listener: ln}
	observed.Lock()
	defer observed.Unlock()
	observed.at[place(ln.Addr().String())] = o
	return observedListener{ln, o}
}

// place is the port of an address: Caddy listens on all addresses of a site's port.
func place(addr string) string {
	if _, port, err := net.SplitHostPort(addr); err == nil {
		return port
	}
	return addr
}

type observedListener struct {
	net.Listener
	*observation
}

func (l observedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return conn, err
	}
	observed.Lock()
	defer observed.Unlock()
	l.conns = append(l.conns, conn)
	// That of a PROXY protocol connection would wait for the client.
	if tcp, ok := socket.TCPConn(conn); ok {
		observed.by[tcp.RemoteAddr().String()+tcp.LocalAddr().String()] = accepted{conn, l.observation}
	}
	return conn, nil
}

// Listener returns the latest listener at an address.
func Listener(t testing.TB, addr string) net.Listener {
	t.Helper()
	observed.Lock()
	defer observed.Unlock()
	o := observed.at[place(addr)]
	require.NotNil(t, o, "no listener at %s", addr)
	return o.listener
}

// Conns returns the connections that the latest listener at an address has accepted.
func Conns(t testing.TB, addr string) []net.Conn {
	t.Helper()
	observed.Lock()
	defer observed.Unlock()
	o := observed.at[place(addr)]
	require.NotNil(t, o, "no listener at %s", addr)
	return append([]net.Conn(nil), o.conns...)
}

// Conn returns the only connection that the latest listener at an address has accepted.
func Conn(t testing.TB, addr string) net.Conn {
	t.Helper()
	conns := Conns(t, addr)
	require.Len(t, conns, 1)
	return conns[0]
}

// ListeningSocket returns the latest socket that Caddy listens with at an address.
func ListeningSocket(t testing.TB, addr string) *net.TCPListener {
	t.Helper()
	ln := Listener(t, addr)
	tcp, ok := socket.TCPListener(ln)
	require.True(t, ok, "no TCP listener in %T", ln)
	return tcp
}
