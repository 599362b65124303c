package sockopt

import (
	"errors"
	"net"
	"syscall"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// reach finds the TCP connection in conn. It calls no method of conn that may wait for
// the client, as those of a PROXY protocol connection do. Where there is nothing to be
// done, or no connection, which it reports, it returns false.
func (s *settings) reach(conn net.Conn, named []socket.Setting, report *report) (*net.TCPConn, bool) {
	if len(named) == 0 && !s.needConn() {
		return nil, false
	}
	tcp, ok := socket.TCPConn(conn)
	if !ok {
		report.unreachable(conn, errNotTCP)
	}
	return tcp, ok
}

// outfit sets on tcp what is named. Where wraps says that it may, it returns the
// connection to go on with in the place of tcp, which sees to acknowledgements and
// counts stalls. It returns nil otherwise: on systems without such connections, and
// where tcp cannot be reached, which it reports.
func (s *settings) outfit(tcp *net.TCPConn, named []socket.Setting, wraps bool, report *report) (acking *socket.Conn) {
	var c syscall.Conn = tcp
	if wraps && socket.QuickAck.Supported() {
		var err error
		if acking, err = socket.NewConn(tcp, socket.AckOptions{Mode: s.ack}, report); err != nil {
			report.unreachable(tcp, err)
			return nil
		}
		c = acking
	}
	refused, err := socket.Set(c, named)
	for _, r := range refused {
		report.refusedBy(tcp, r.Option, r.Err)
	}
	if err != nil {
		report.unreachable(tcp, err)
		return nil
	}
	return acking
}

// needConn reports whether the settings need a connection of our own: a
// connection without one only goes without the count of its stalls.
func (s *settings) needConn() bool { return s.ack != socket.AckOff || s.metrics }

var errNotTCP = errors.New("no TCP connection is found in it")
