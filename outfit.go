package sockopt

import (
	"errors"
	"net"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// set finds the TCP connection in conn and sets on it what is named. It
// calls no method of conn that may wait for the client, as those of a PROXY
// protocol connection do. Where nothing is to be done, or the connection cannot
// be reached, which it reports, it returns false.
func (s settings) set(conn net.Conn, named []socket.Setting, report *report) (*net.TCPConn, bool) {
	if len(named) == 0 && !s.needConn() {
		return nil, false
	}
	tcp, ok := socket.TCPConn(conn)
	if !ok {
		report.unreachable(conn, errNotTCP)
		return nil, false
	}
	err := socket.Set(tcp, named, func(refused socket.Setting, err error) {
		report.refusedBy(tcp, refused.Option, err)
	})
	if err != nil {
		report.unreachable(conn, err)
		return nil, false
	}
	return tcp, true
}

// needConn reports whether the settings need a connection of our own: a
// connection without one only goes without the count of its stalls.
func (s settings) needConn() bool { return s.ack != socket.AckOff || s.metrics }

// acking returns conn with acknowledgements as the settings say. There is none
// where this system has no such connection, and where conn cannot be reached,
// which it reports.
func (s settings) acking(conn *net.TCPConn, report *report) (*socket.Conn, bool) {
	if !socket.QuickAck.Supported() {
		return nil, false
	}
	acking, err := socket.NewConn(conn, s.ack, report)
	if err != nil {
		report.unreachable(conn, err)
		return nil, false
	}
	return acking, true
}

var errNotTCP = errors.New("no TCP connection is found in it")
