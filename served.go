package sockopt

import (
	"context"
	"errors"
	"net"
	"net/http"
	"reflect"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// served is a connection over which requests come, for the handlers of those
// requests: with the options that they change.
type served struct {
	tcp     *net.TCPConn // the kernel's
	settles bool         // when it is idle, what requests have changed is put back

	mu      sync.Mutex
	options *socket.Options // nil until a request changes one
	touched []touched
	holds   []*hold // in the order in which they began
}

// touched is an option that some request has changed.
type touched struct {
	option socket.Option
	base   socket.Saved // what it is when no request changes it
	now    socket.Saved

	// broken says that it cannot be read or was refused, so that it is left alone.
	broken bool
}

// override is an option's value while a request is served, and what the kernel makes
// of it.
type override struct {
	setting   socket.Setting
	effective socket.Saved
}

// hold is one request's hold on options.
type hold struct {
	overrides []override
	report    *report
}

type servedKey struct{}

// showConnections makes a server give its requests their connection.
func showConnections(server *caddyhttp.Server) {
	if server == nil {
		return
	}
	server.RegisterConnContext(func(ctx context.Context, conn net.Conn) context.Context {
		if ctx.Value(servedKey{}) != nil { // another handler's doing
			return ctx
		}
		tcp, ok := socket.TCPConn(conn)
		if !ok {
			return ctx
		}
		return context.WithValue(ctx, servedKey{}, &served{tcp: tcp})
	})
}

// servedBy returns the connection of a request. A request over HTTP/3 or over a
// Unix socket has none.
func servedBy(r *http.Request) (*served, bool) {
	s, ok := r.Context().Value(servedKey{}).(*served)
	return s, ok
}

// settling are the connections of servers that put back what requests have changed,
// by net.Conn, for as long as net/http has them.
var settling sync.Map

// settle makes a server put back, on connections that become idle, what requests
// have changed. It cannot be sooner over HTTP/1: net/http sends the end of a
// response after its handlers have returned.
func settle(server *caddyhttp.Server) {
	if server == nil {
		return
	}
	server.RegisterConnContext(func(ctx context.Context, conn net.Conn) context.Context {
		if s, ok := ctx.Value(servedKey{}).(*served); ok && reflect.TypeOf(conn).Comparable() { // a map has it as a key
			s.settles = true
			settling.Store(conn, s)
		}
		return ctx
	})
	server.RegisterConnState(func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew || state == http.StateActive || !reflect.TypeOf(conn).Comparable() {
			return
		}
		if state != http.StateIdle { // closed or hijacked: the last that is heard of it
			settling.Delete(conn)
			return
		}
		if s, ok := settling.Load(conn); ok {
			s.(*served).releaseAll()
		}
	})
}

// holdUntilIdle changes options until the connection is idle. It reports whether
// it could: HTTP/1 has one request at a time.
func (s *served) holdUntilIdle(r *http.Request, h *hold) bool {
	if r.ProtoMajor != 1 || !s.settles {
		return false
	}
	s.acquire(h)
	return true
}

// acquire changes options. Of several holds on an option the latest counts.
func (s *served) acquire(h *hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options == nil {
		options, err := socket.NewOptions(s.tcp)
		if err != nil {
			h.report.unreachable(s.tcp, err)
			return
		}
		s.options = options
	}
	// What is saved is the base only as long as nobody has changed it.
	for _, c := range h.overrides {
		s.save(c.setting.Option, h.report)
		if c.setting.Option.Is(socket.TrafficClass) {
			s.save(socket.Priority, h.report)
		}
	}
	s.holds = append(s.holds, h)
	for _, c := range h.overrides {
		s.update(c.setting.Option, h.report)
	}
}

// release ends a hold: the one before it counts again, or the base.
func (s *served) release(h *hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options == nil {
		return
	}
	s.holds = slices.DeleteFunc(s.holds, func(other *hold) bool { return other == h })
	for _, c := range h.overrides {
		s.update(c.setting.Option, h.report)
	}
}

func (s *served) releaseAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	holds := s.holds
	s.holds = nil
	for _, h := range slices.Backward(holds) {
		for _, c := range h.overrides {
			s.update(c.setting.Option, h.report)
		}
	}
	clear(holds)
	s.holds = holds[:0]
}

// save reads the base of an option, once, or every time where the kernel tunes it.
func (s *served) save(o socket.Option, report *report) {
	i := s.find(o)
	switch {
	case i < 0:
		s.touched = append(s.touched, touched{option: o})
		i = len(s.touched) - 1
	case !o.Tuned() || s.touched[i].broken || s.isHeld(o):
		return
	}
	base, err := s.options.Save(o)
	switch {
	case errors.Is(err, net.ErrClosed):
		s.touched[i].broken = true
		return
	case err != nil:
		s.touched[i].broken = true
		report.refusedBy(s.tcp, o, err)
		return
	}
	s.touched[i].base, s.touched[i].now = base, base
}

func (s *served) find(o socket.Option) int {
	return slices.IndexFunc(s.touched, func(c touched) bool { return c.option.Is(o) })
}

// isHeld reports whether a request holds the option.
func (s *served) isHeld(o socket.Option) bool {
	_, ok := s.latest(o)
	return ok
}

// latest returns the override of the latest hold on an option.
func (s *served) latest(o socket.Option) (override, bool) {
	for _, h := range slices.Backward(s.holds) {
		for _, c := range slices.Backward(h.overrides) {
			if c.setting.Option.Is(o) {
				return c, true
			}
		}
	}
	return override{}, false
}

// update gives an option the value that it should have now, if it has another.
func (s *served) update(o socket.Option, report *report) {
	i := s.find(o)
	if i < 0 || s.touched[i].broken {
		return
	}
	c := &s.touched[i]
	target, isHeld := s.latest(o)
	want := c.base
	if isHeld {
		want = target.effective
	}
	if c.now == want {
		return
	}
	var err error
	if isHeld {
		err = s.options.Set(target.setting)
	} else {
		err = s.options.Restore(o, c.base)
	}
	switch {
	case errors.Is(err, net.ErrClosed):
		return
	case err != nil:
		c.broken = true
		report.refusedBy(s.tcp, o, err)
	}
	c.now = want
	if o.Is(socket.TrafficClass) {
		s.derivePriority(report)
	}
}

// derivePriority puts the priority right, which the kernel derives from the traffic
// class whenever that is set (__ip_sock_set_tos in its net/ipv4/ip_sockglue.c).
// While a request holds the traffic class alone, the derived one is meant.
func (s *served) derivePriority(report *report) {
	i := s.find(socket.Priority)
	if s.touched[i].broken {
		return
	}
	now, err := s.options.Save(socket.Priority)
	if err != nil {
		return
	}
	s.touched[i].now = now
	if s.isHeld(socket.Priority) || !s.isHeld(socket.TrafficClass) {
		s.update(socket.Priority, report)
	}
}
