package sockopt

import (
	"errors"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

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

// serverOf returns the HTTP server whose module is provisioned, or nil where the
// module is not part of one.
func serverOf(ctx caddy.Context) *caddyhttp.Server {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server
}

func serverName(server *caddyhttp.Server) string {
	if server == nil {
		return ""
	}
	return server.Name()
}

var errNotTCP = errors.New("no TCP connection is found in it")
