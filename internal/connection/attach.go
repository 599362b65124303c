// Package connection puts options on one connection, and gives the requests over it what they need to
// change them. It serves every front end that accepts or dials, and knows net/http, but not Caddy.
package connection

import (
	"errors"
	"net"
	"syscall"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Attach puts options on a connection, accepted or dialed, and returns the connection to go on with: a socket.Conn,
// which acknowledges and counts stalls, where conn is the kernel's. One that others have wrapped it returns as it is:
// HTTP/2 needs the *tls.Conn that it knows. It never loses a connection: what fails is counted and logged. It calls
// no method of conn that may wait for the client, as those of a PROXY protocol connection do.
func Attach(conn net.Conn, settings []socket.Setting, r *options.Resolved, observer *stats.Observer) net.Conn {
	if len(settings) == 0 && !NeedsConn(r) {
		return conn
	}
	tcp, ok := socket.TCPConn(conn)
	if !ok {
		observer.Unreachable(conn, errNotTCP)
		return conn
	}
	attached, c := conn, syscall.Conn(tcp)
	if conn == net.Conn(tcp) {
		if acking, err := socket.NewConn(tcp, r.Ack, observer); err == nil { // else it is not Linux
			attached, c = acking, acking
		}
	}
	refused, err := socket.Set(c, settings)
	if err != nil {
		observer.Unreachable(conn, err)
		return conn
	}
	if acking, ok := attached.(*socket.Conn); ok {
		observer.Opened(acking)
	}
	for _, r := range refused {
		observer.Refused(tcp, r.Option, r.Err)
	}
	return attached
}

// NeedsConn reports whether options have an effect only through a socket.Conn.
func NeedsConn(r *options.Resolved) bool { return r.Ack.Mode != socket.AckOff || r.Metrics }

var errNotTCP = errors.New("it contains no TCP connection")
