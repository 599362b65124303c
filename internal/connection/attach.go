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

// Attach puts options on a connection, accepted or dialed, and returns the connection
// to go on with. It never loses a connection: what fails is counted and logged.
func Attach(conn net.Conn, settings []socket.Setting, r *options.Resolved, observer *stats.Observer) net.Conn {
	attached, err := tryAttach(conn, settings, r, observer)
	if err != nil {
		observer.Unreachable(conn, err)
		return conn
	}
	return attached
}

// tryAttach sets settings on the TCP connection inside conn. Where that is conn itself,
// it returns a socket.Conn, which acknowledges and counts stalls. A connection that
// others have wrapped it returns as it is: HTTP/2 needs the *tls.Conn that it knows. It
// calls no method of conn that may wait for the client, as those of a PROXY protocol
// connection do.
func tryAttach(conn net.Conn, settings []socket.Setting, r *options.Resolved, observer *stats.Observer) (net.Conn, error) {
	if len(settings) == 0 && !NeedsConn(r) {
		return conn, nil
	}
	tcp, ok := socket.TCPConn(conn)
	if !ok {
		return nil, errNotTCP
	}
	var c syscall.Conn = tcp
	if conn == net.Conn(tcp) && socket.QuickAck.Supported() {
		acking, err := socket.NewConn(tcp, r.Ack, observer)
		if err != nil {
			return nil, err
		}
		conn, c = acking, acking
	}
	refused, err := socket.Set(c, settings)
	if acking, ok := conn.(*socket.Conn); ok && err == nil {
		observer.Opened(acking)
	}
	for _, r := range refused {
		observer.Refused(tcp, r.Option, r.Err)
	}
	return conn, err
}

// NeedsConn reports whether options have an effect only through a socket.Conn.
func NeedsConn(r *options.Resolved) bool { return r.Ack.Mode != socket.AckOff || r.Metrics }

var errNotTCP = errors.New("it contains no TCP connection")
