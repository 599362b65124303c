package connection

import (
	"context"
	"net"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Served is a connection over which requests come, as their handlers see it.
type Served struct {
	TCP    *net.TCPConn // the kernel's
	acking *socket.Conn // nil where the wrapper has none

	mu        sync.Mutex
	overrides *socket.Overrides // nil until a request has options
	ended     []*socket.Hold    // of requests whose handlers have returned
	corked    bool              // what is written may stay in the kernel
	restore   *time.Timer       // nil until a request on a shared connection has ended
}

type servedKey struct{}

// ServedBy returns the connection of a request. A request over HTTP/3 or over a
// Unix socket has none.
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
	acking, _ := socket.AckingConn(conn)
	return context.WithValue(ctx, servedKey{}, &Served{TCP: tcp, acking: acking})
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

// RestoreWhenIdle is a ConnState of http.Server that restores the options of a connection
// that becomes idle. It cannot be sooner: net/http sends the end of a response after its
// handlers have returned.
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

// Hold sets the options of a request.
func (s *Served) Hold(h *socket.Hold) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.overrides == nil {
		overrides, err := socket.NewOverrides(s.TCP)
		if err != nil {
			return err
		}
		s.overrides = overrides
	}
	s.releaseEnded()
	s.overrides.Hold(h)
	return nil
}

// End is called when the handlers of a request have returned. net/http sends the rest of
// the response afterwards, so the options stay until the connection is idle or has the
// next request. On a shared connection neither may come for long, so a timer ends them.
func (s *Served) End(h *socket.Hold, shared bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, h)
	switch {
	case !shared:
	case s.restore == nil:
		s.restore = time.AfterFunc(restoreAfter, s.restoreEnded)
	default:
		s.restore.Reset(restoreAfter)
	}
}

// Cork sets TCP_CORK for a response, until the connection is idle.
func (s *Served) Cork(h *socket.Hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corked = true
	if s.acking != nil {
		s.acking.SetHeldBack(true)
	}
	s.overrides.Hold(h)
}

// Push sends what TCP_CORK holds back.
func (s *Served) Push(h *socket.Hold) {
	if s.acking != nil {
		_ = s.acking.Push() // closed: there is nothing to send
		return
	}
	s.overrides.Release(h)
	s.overrides.Hold(h)
}

func (s *Served) restoreEnded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseEnded()
}

func (s *Served) releaseEnded() {
	for i, h := range s.ended {
		s.overrides.Release(h)
		s.ended[i] = nil
	}
	s.ended = s.ended[:0]
}

// RestoreAll restores all options, on a connection that is idle.
func (s *Served) RestoreAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.overrides == nil {
		return
	}
	if s.restore != nil {
		s.restore.Stop()
	}
	s.releaseEnded()
	s.overrides.ReleaseAll()
	if s.corked && s.acking != nil {
		s.acking.SetHeldBack(false)
	}
	s.corked = false
}
