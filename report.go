package sockopt

import (
	"net"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// report counts the options that connections refused, and logs them at a
// bounded rate.
type report struct {
	log    *zap.Logger
	errors atomic.Uint64
	often  rate.Sometimes
}

func newReport(log *zap.Logger) *report {
	return &report{log: log, often: rate.Sometimes{First: 1, Interval: 10 * time.Second}}
}

// refused counts an option that one connection refused.
func (r *report) refused(o socket.Option, conn net.Conn, err error) {
	count := r.errors.Add(1)
	r.often.Do(func() {
		r.log.Error("option refused by a connection, which goes on without it",
			zap.String("option", o.Name),
			zap.Stringer("remote", conn.RemoteAddr()),
			zap.Uint64("refused_so_far", count),
			zap.Error(err))
	})
}

// Acknowledged implements socket.Observer.
func (r *report) Acknowledged() {}

// AcknowledgeFailed implements socket.Observer.
func (r *report) AcknowledgeFailed(c *socket.Conn, err error) {
	r.refused(socket.QuickAck, c.TCPConn, err)
}
