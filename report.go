package sockopt

import (
	"net"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// report counts what happens to connections, and logs what they refuse at a
// bounded rate.
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
		r.log.Error("option refused by a connection, which goes on without it",
			zap.String("option", o.Name),
			zap.Stringer("remote", conn.RemoteAddr()),
			zap.Uint64("refused_so_far", count),
			zap.Error(err))
	})
}

// Acknowledged implements socket.Observer.
func (r *report) Acknowledged() { r.acknowledged.Add(1) }

// AcknowledgeFailed implements socket.Observer.
func (r *report) AcknowledgeFailed(c *socket.Conn, err error) {
	r.refusedBy(c.TCPConn, socket.QuickAck, err)
}
