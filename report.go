package sockopt

import (
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// report counts what connections do and refuse, and logs the first of each kind
// in every interval.
type report struct {
	*counters
	log     *zap.Logger
	limits  sync.Map      // *rate.Sometimes by what is logged: a refusalKey or a name
	atClose *closeMetrics // nil where metrics is not named
}

func newReport(c *counters, log *zap.Logger) *report {
	return &report{counters: c, log: log}
}

// sometimes calls f where no f of the same kind was called of late.
func (r *report) sometimes(kind any, f func()) {
	limit, ok := r.limits.Load(kind)
	if !ok {
		limit, _ = r.limits.LoadOrStore(kind, &rate.Sometimes{First: 1, Interval: 10 * time.Second})
	}
	limit.(*rate.Sometimes).Do(f) //nolint:forcetypeassert // there is nothing else in it
}

// refusedBy counts an option that one connection refused.
func (r *report) refusedBy(conn net.Conn, o socket.Option, err error) {
	key := refusalKey{o.Name, socket.ErrnoName(err)}
	count := r.refuse(key)
	r.sometimes(key, func() {
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
	r.sometimes("unreachable", func() {
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

// Wasted implements socket.Observer.
func (r *report) Wasted(*socket.Conn) {}

// BecamePatient implements socket.Observer.
func (r *report) BecamePatient(*socket.Conn) {}

// Stalled implements socket.Observer.
func (r *report) Stalled(c *socket.Conn, wait time.Duration) {
	count := r.stalled.Add(1)
	r.sometimes("stalled", func() {
		r.log.Debug("suspected stall: the peer's next bytes came after the time of a delayed acknowledgement",
			zap.Stringer("remote", c.RemoteAddr()),
			zap.Duration("wait", wait),
			zap.Uint64("stalls_so_far", count))
	})
}

// Closing implements socket.Observer.
func (r *report) Closing(c *socket.Conn) {
	if r.atClose == nil {
		return
	}
	if info, err := socket.Info(c.TCPConn); err == nil {
		r.atClose.add(info)
	}
}
