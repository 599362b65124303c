package sockopt

import (
	"net"
	"sync"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// served is a connection over which requests come, as their handlers see it.
type served struct {
	tcp    *net.TCPConn // the kernel's
	acking *socket.Conn // nil where the wrapper has none

	mu        sync.Mutex
	overrides *socket.Overrides // nil until a request has options
	ended     []*socket.Hold    // of requests whose handlers have returned
	corked    bool              // what is written may stay in the kernel
	restore   *time.Timer       // nil until a request on a shared connection has ended
}

// restoreAfter bounds how long the options of a request outlast its handlers on a
// connection that is not idle, because other requests are served.
const restoreAfter = 100 * time.Millisecond

// hold sets the options of a request.
func (s *served) hold(h *socket.Hold) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.overrides == nil {
		overrides, err := socket.NewOverrides(s.tcp)
		if err != nil {
			return err
		}
		s.overrides = overrides
	}
	s.releaseEnded()
	s.overrides.Hold(h)
	return nil
}

// end is called when the handlers of a request have returned. net/http sends the rest of
// the response afterwards, so the options stay until the connection is idle or has the
// next request. On a shared connection neither may come for long, so a timer ends them.
func (s *served) end(h *socket.Hold, shared bool) {
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

// cork sets TCP_CORK for a response, until the connection is idle.
func (s *served) cork(h *socket.Hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corked = true
	if s.acking != nil {
		s.acking.SetHeldBack(true)
	}
	s.overrides.Hold(h)
}

// push sends what TCP_CORK holds back.
func (s *served) push(h *socket.Hold) {
	if s.acking != nil {
		_ = s.acking.Push() // closed: there is nothing to send
		return
	}
	s.overrides.Release(h)
	s.overrides.Hold(h)
}

func (s *served) restoreEnded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseEnded()
}

func (s *served) releaseEnded() {
	for i, h := range s.ended {
		s.overrides.Release(h)
		s.ended[i] = nil
	}
	s.ended = s.ended[:0]
}

// restoreAll restores all options, on a connection that is idle.
func (s *served) restoreAll() {
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
