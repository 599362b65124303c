package stats

import (
	"slices"
	"sync"
	"syscall"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// AcceptQueue is what the kernel says of the listening sockets of an origin.
type AcceptQueue struct {
	Connections int    `json:"connections"` // that wait for Accept
	Limit       int    `json:"limit"`       // how many may
	Dropped     uint64 `json:"dropped"`     // by the kernel, mostly because there were more
}

// listening are the listening sockets of an origin.
type listening struct {
	mu      sync.Mutex
	sockets []*listeningSocket
	dropped uint64 // by those that were closed
}

// listeningSocket is one socket. Where it was handed over (fd/), each configuration has a
// descriptor of its own for it.
type listeningSocket struct {
	cookie      uint64
	descriptors []syscall.Conn
	base        uint32 // what it had dropped before
}

// Listens adds a listening socket. The caller calls closing before it closes it.
func (c *Counters) Listens(ln syscall.Conn) (closing func()) {
	cookie, err := socket.Cookie(ln)
	if err != nil {
		return func() {}
	}
	c.listening.add(cookie, ln)
	return sync.OnceFunc(func() { c.listening.remove(cookie, ln) })
}

func (l *listening) add(cookie uint64, ln syscall.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.sockets, func(s *listeningSocket) bool { return s.cookie == cookie })
	if i < 0 {
		i = len(l.sockets)
		base, _ := socket.Dropped(ln) // a kernel without SO_MEMINFO (4.12) counts none
		l.sockets = append(l.sockets, &listeningSocket{cookie: cookie, base: base})
	}
	l.sockets[i].descriptors = append(l.sockets[i].descriptors, ln)
}

func (l *listening) remove(cookie uint64, ln syscall.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sockets = slices.DeleteFunc(l.sockets, func(s *listeningSocket) bool {
		if s.cookie != cookie {
			return false
		}
		if len(s.descriptors) > 1 {
			s.descriptors = slices.DeleteFunc(s.descriptors, func(d syscall.Conn) bool { return d == ln })
			return false
		}
		l.dropped += s.dropped()
		return true
	})
}

// dropped returns the connections that the socket has dropped.
func (s *listeningSocket) dropped() uint64 {
	now, err := socket.Dropped(s.descriptors[0])
	if err != nil {
		return 0
	}
	return uint64(now - s.base)
}

// AcceptQueue returns the sum over the listening sockets, which are several while one
// configuration replaces another. It is nil where there is none.
func (c *Counters) AcceptQueue() *AcceptQueue {
	l := &c.listening
	l.mu.Lock()
	defer l.mu.Unlock()
	q := AcceptQueue{Dropped: l.dropped}
	var found bool
	for _, s := range l.sockets {
		connections, limit, err := socket.AcceptQueue(s.descriptors[0])
		if err != nil {
			continue
		}
		found = true
		q.Connections += connections
		q.Limit += limit
		q.Dropped += s.dropped()
	}
	if !found {
		return nil
	}
	return &q
}
