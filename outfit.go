package sockopt

import (
	"errors"
	"net"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// set finds the TCP connection in conn and sets on it what the phase says. It
// calls no method of conn that may wait for the client, as those of a PROXY
// protocol connection do. Where nothing is to be done, or the connection cannot
// be reached, which it reports, it returns false.
func (s settings) set(conn net.Conn, p phase, report *report) (*net.TCPConn, bool) {
	named := s.of[p]
	if len(named) == 0 && s.ack == socket.AckOff {
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

// acking returns conn with acknowledgements as the settings say, or reports that
// it cannot be reached.
func (s settings) acking(conn *net.TCPConn, report *report) (*socket.Conn, bool) {
	acking, err := socket.NewConn(conn, s.ack, report)
	if err != nil {
		report.unreachable(conn, err)
		return nil, false
	}
	return acking, true
}

var errNotTCP = errors.New("no TCP connection is found in it")
