package connection

import (
	"context"
	"net"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Served is a connection over which requests come, as their handlers see it.
type Served struct {
	TCP socket.Socket // its *socket.Conn where the wrapper has one, or else the kernel's

	askedSYN sync.Once
	syn      *socket.SYN

	mu        sync.Mutex
	limits    []*rate.Limiter   // of requests that are paced, each with another rate
	overrides *socket.Overrides // nil until a request has options
	restore   *time.Timer       // nil until a request on a shared connection has ended
}

// SYN returns the client's SYN, or nil where the listening socket did not save it. The
// kernel is asked once: it frees what it returns.
func (s *Served) SYN() *socket.SYN {
	s.askedSYN.Do(func() { s.syn = socket.SavedSYN(s.TCP) })
	return s.syn
}

// Limit returns the limit that the requests with this rate share. The first of them makes it.
func (s *Served) Limit(bytesPerSecond int64, newLimit func(int64) *rate.Limiter) *rate.Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.limits, func(l *rate.Limiter) bool { return l.Limit() == rate.Limit(bytesPerSecond) })
	if i < 0 {
		i = len(s.limits)
		s.limits = append(s.limits, newLimit(bytesPerSecond))
	}
	return s.limits[i]
}

type servedKey struct{}

// ServedBy returns the connection of a request. A request over HTTP/3 or over a Unix socket has none.
func ServedBy(r *http.Request) (*Served, bool) {
	s, ok := r.Context().Value(servedKey{}).(*Served)
	return s, ok
}

// Show is a ConnContext of http.Server that gives requests their connection.
func Show(ctx context.Context, conn net.Conn) context.Context {
	tcp, ok := socket.TCPConn(conn)
	if !ok {
		return ctx
	}
	s := &Served{TCP: tcp}
	if acking, ok := socket.AckingConn(conn); ok {
		s.TCP = acking
	}
	return context.WithValue(ctx, servedKey{}, s)
}

// restoring has the connections that restore their options when they are idle, as
// *Served by net.Conn, until net/http closes them or hands them over.
var restoring sync.Map

// Restore is a ConnContext to be called after Show, where a server has RestoreWhenIdle.
func Restore(ctx context.Context, conn net.Conn) context.Context {
	if s, ok := ctx.Value(servedKey{}).(*Served); ok && reflect.ValueOf(conn).Comparable() { // it is the key of a map
		restoring.Store(conn, s)
	}
	return ctx
}

// RestoreWhenIdle is a ConnState of http.Server that restores the options of a connection that becomes idle. It
// cannot be sooner: net/http sends the end of a response after its handlers have returned.
func RestoreWhenIdle(conn net.Conn, state http.ConnState) {
	if state == http.StateNew || state == http.StateActive || !reflect.ValueOf(conn).Comparable() {
		return
	}
	if s, ok := restoring.Load(conn); ok && state == http.StateIdle {
		s.(*Served).RestoreAll() //nolint:forcetypeassert // there is nothing else in it
	}
	if state != http.StateIdle { // closed or hijacked: its last state
		restoring.Delete(conn)
	}
}

// restoreAfter bounds how long the options of a request outlast its handlers on a
// connection that is not idle, because other requests are served.
const restoreAfter = 100 * time.Millisecond

// Hold sets the options of a request, in place of those that it had before.
func (s *Served) Hold(h, before *socket.Hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.overrides == nil {
		s.overrides = socket.NewOverrides(s.TCP)
	}
	current := slices.DeleteFunc(s.overrides.Holds, func(other *socket.Hold) bool { return other == before || other.Ended })
	s.overrides.Holds = append(current, h)
	s.overrides.Update()
}

// End is called when the handlers of a request have returned. net/http sends the rest of
// the response afterwards, so the options stay until the connection is idle or has the
// next request. On a shared connection neither may come for long, so a timer ends them.
func (s *Served) End(h *socket.Hold, shared bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.Ended = true
	switch {
	case !shared:
	case s.restore == nil:
		s.restore = time.AfterFunc(restoreAfter, s.restoreEnded)
	default:
		s.restore.Reset(restoreAfter)
	}
}

func (s *Served) restoreEnded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.overrides.Holds = slices.DeleteFunc(s.overrides.Holds, func(h *socket.Hold) bool { return h.Ended })
	s.overrides.Update()
}

// RestoreAll restores all options, on a connection that is idle. It keeps no memory of many requests.
func (s *Served) RestoreAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.overrides == nil {
		return
	}
	if s.restore != nil {
		s.restore.Stop()
		s.restore = nil
	}
	holds := slices.Delete(s.overrides.Holds, 0, len(s.overrides.Holds))
	if cap(holds) > 4 {
		holds = nil
	}
	s.overrides.Holds = holds
	s.overrides.Update()
	s.holdBack(false)
}

// Corked is called before TCP_CORK is set for a response, until the connection is idle.
func (s *Served) Corked() { s.holdBack(true) }

func (s *Served) holdBack(held bool) {
	if acking, ok := s.TCP.(*socket.Conn); ok {
		acking.SetHeldBack(held)
	}
}

// Push sends what TCP_CORK holds back. If the connection is closed there is nothing.
func (s *Served) Push() { _ = socket.Push(s.TCP) }
