package stats

import (
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Observer counts what connections do and refuse, and logs it at a bounded rate: one
// entry of each kind every ten seconds.
type Observer struct {
	*Counters
	log       *zap.Logger
	limits    sync.Map        // *rate.Sometimes by what is logged: a refusalKey or a name
	multipath sync.Once       // that MPTCP refuses options is said
	atClose   []func(float64) // of closeMetrics; nil without metrics

	// WithoutPeers says that the addresses of peers that wait are not remembered.
	WithoutPeers bool

	// CountsReceived says that the segments with data of connections that close are counted, with
	// which suspected stalls are compared.
	CountsReceived bool
}

var (
	_ socket.Observer        = (*Observer)(nil)
	_ socket.RefusalObserver = (*Observer)(nil)
)

// NewObserver returns an observer that counts in c. With metrics it reads TCP_INFO when a connection closes.
func NewObserver(c *Counters, log *zap.Logger, metrics bool) *Observer {
	o := &Observer{Counters: c, log: log}
	if metrics {
		c.metrics.Add(1)
		o.atClose = adders(c.origin.labels())
	}
	return o
}

// Done is called when the observer's configuration ends.
func (o *Observer) Done() {
	if o.atClose != nil {
		o.metrics.Add(-1)
	}
	o.Counters.Done()
}

// sometimes calls f unless it was called for the same kind in the last ten seconds.
func (o *Observer) sometimes(kind any, f func()) {
	limit, ok := o.limits.Load(kind)
	if !ok {
		limit, _ = o.limits.LoadOrStore(kind, &rate.Sometimes{First: 1, Interval: 10 * time.Second})
	}
	limit.(*rate.Sometimes).Do(f) //nolint:forcetypeassert // there is nothing else in it
}

// Connected counts a connection.
func (o *Observer) Connected() { Connections.add(o.Counters) }

// NoPort counts a dial that found no free source port.
func (o *Observer) NoPort() { o.noPort.Add(1) }

// Refused counts an option that one connection refused.
func (o *Observer) Refused(conn net.Conn, option socket.Option, err error) {
	key := refusalKey{option.Name, socket.ErrnoName(err)}
	count := o.refuse(key)
	o.sometimes(key, func() {
		if c, ok := conn.(interface{ MultipathTCP() (bool, error) }); ok {
			if multipath, _ := c.MultipathTCP(); multipath {
				o.multipath.Do(func() { o.log.Warn(multipathRefuses[o.origin.Direction], options.Named(option), zap.Error(err)) })
				return
			}
		}
		o.log.Warn("option refused by a connection, which goes on without it",
			options.Named(option),
			zap.Stringer("remote", conn.RemoteAddr()),
			zap.Uint64("errors_so_far", count),
			zap.Error(err))
	})
}

// multipathRefuses says once in a configuration why connections over MPTCP refuse options.
var multipathRefuses = map[Direction]string{
	Accepted: "a client speaks MPTCP, which refuses quickack and other options and is counted; multipath off in the wrapper has all clients speak TCP",
	Route:    "a client speaks MPTCP, which refuses some options of a route and is counted; multipath off in the listener wrapper has all clients speak TCP",
	Dialed:   "a backend speaks MPTCP, which refuses quickack and other options and is counted; without multipath on the transport speaks TCP",
}

// Unreachable counts a connection whose socket was not found. It logs the type
// alone: a method of conn may wait for the client.
func (o *Observer) Unreachable(conn net.Conn, err error) {
	count := Unreachable.add(o.Counters)
	o.sometimes("unreachable", func() {
		o.log.Warn("cannot reach the socket of a connection; its options are not set",
			zap.String("type", fmt.Sprintf("%T", conn)),
			zap.Uint64("errors_so_far", count),
			zap.Error(err))
	})
}

// Acknowledged implements socket.Observer.
func (o *Observer) Acknowledged() { Acknowledged.add(o.Counters) }

// Wasted implements socket.Observer.
func (o *Observer) Wasted(*socket.Conn) { Wasted.add(o.Counters) }

// BecamePatient implements socket.Observer.
func (o *Observer) BecamePatient(*socket.Conn) { Patient.add(o.Counters) }

// AcknowledgeFailed implements socket.Observer.
func (o *Observer) AcknowledgeFailed(c *socket.Conn, err error) {
	o.Refused(c.TCPConn, socket.QuickAck, err)
}

// Stalled implements socket.Observer.
func (o *Observer) Stalled(c *socket.Conn, wait time.Duration) {
	count := Stalled.add(o.Counters)
	if !o.WithoutPeers {
		peers.answered(o.keyOf(c), true, time.Now())
	}
	o.sometimes("stalled", func() {
		o.log.Debug("suspected stall: the peer's next bytes came after the time of a delayed acknowledgement",
			zap.Stringer("remote", c.RemoteAddr()),
			zap.Duration("wait", wait),
			zap.Uint64("stalls_so_far", count))
	})
}

// Opened adds a connection to those that are open.
func (o *Observer) Opened(c *socket.Conn) { o.open.Add(c) }

// Closing implements socket.Observer.
func (o *Observer) Closing(c *socket.Conn) {
	o.open.Remove(c)
	if o.atClose == nil && !o.CountsReceived {
		return
	}
	info, err := socket.Info(c)
	if err != nil {
		return
	}
	received, _ := info.Value(socket.DataSegsIn)
	o.received.Add(received)
	for i, add := range o.atClose {
		value, known := info.Value(closeMetrics[i].figure)
		switch {
		case !known: // this kernel does not report it
		case closeMetrics[i].figure.Unit == socket.Microseconds:
			add(float64(value) / 1e6)
		default:
			add(float64(value))
		}
	}
}
