package sockopt

import (
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// report counts the options that connections refused and the connections that
// could not be reached, and logs the first of them in each interval.
type report struct {
	*counters
	log   *zap.Logger
	often rate.Sometimes
}

func newReport(c *counters, log *zap.Logger) *report {
	return &report{counters: c, log: log, often: rate.Sometimes{First: 1, Interval: 10 * time.Second}}
}

// refusedBy counts an option that one connection refused.
func (r *report) refusedBy(conn net.Conn, o socket.Option, err error) {
	count := r.refuse(o, err)
	r.often.Do(func() {
		r.log.Warn("option refused by a connection, which goes on without it",
			zap.String("option", o.Name),
			zap.Stringer("remote", conn.RemoteAddr()),
			zap.Uint64("errors_so_far", count),
			zap.Error(err))
	})
}

// unreachable counts a connection whose socket cannot be reached. It names the
// type alone: a method of conn may wait for the client.
func (r *report) unreachable(conn net.Conn, err error) {
	count := r.counters.unreachable.Add(1)
	r.often.Do(func() {
		r.log.Warn("cannot reach the socket of a connection; its options are not set",
			zap.String("type", fmt.Sprintf("%T", conn)),
			zap.Uint64("errors_so_far", count),
			zap.Error(err))
	})
}

// Acknowledged implements socket.Observer.
func (r *report) Acknowledged() { r.acknowledged.Add(1) }

// AcknowledgeFailed implements socket.Observer.
func (r *report) AcknowledgeFailed(c *socket.Conn, err error) {
	r.refusedBy(c.TCPConn, socket.QuickAck, err)
}
