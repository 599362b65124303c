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

// listener is a descriptor of a listening socket. A socket that was handed over (fd/)
// has one for each configuration.
type listener struct {
	syscall.Conn
	cookie uint64 // of the socket
	base   uint32 // what the socket had dropped before
}

// Listens adds a listening socket. The caller calls closing before it closes it.
func (c *Counters) Listens(ln syscall.Conn) (closing func()) {
	cookie, err := socket.Cookie(ln)
	if err != nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := listener{Conn: ln, cookie: cookie}
	if first := c.firstWith(cookie); first >= 0 {
		l.base = c.listeners[first].base
	} else {
		l.base, _ = socket.Dropped(ln) // a kernel without SO_MEMINFO (4.12) counts none
	}
	c.listeners = append(c.listeners, l)
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.listeners = slices.DeleteFunc(c.listeners, func(other listener) bool { return other == l })
		if c.firstWith(cookie) < 0 {
			c.dropped += l.dropped()
		}
	})
}

// Listening returns the latest listening socket, or nil.
func (c *Counters) Listening() syscall.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.listeners) == 0 {
		return nil
	}
	return c.listeners[len(c.listeners)-1].Conn
}

// firstWith returns the index of the first descriptor of a socket, or -1.
func (c *Counters) firstWith(cookie uint64) int {
	return slices.IndexFunc(c.listeners, func(l listener) bool { return l.cookie == cookie })
}

// dropped returns the connections that the socket has dropped.
func (l listener) dropped() uint64 {
	now, err := socket.Dropped(l)
	if err != nil {
		return 0
	}
	return uint64(now - l.base)
}

// AcceptQueue returns the sum over the listening sockets, which are several while one
// configuration replaces another. It is nil where there is none.
func (c *Counters) AcceptQueue() *AcceptQueue {
	c.mu.Lock()
	defer c.mu.Unlock()
	var q *AcceptQueue
	for i, l := range c.listeners {
		connections, limit, err := socket.AcceptQueue(l)
		if err != nil || c.firstWith(l.cookie) < i {
			continue
		}
		if q == nil {
			q = &AcceptQueue{Dropped: c.dropped}
		}
		q.Connections += connections
		q.Limit += limit
		q.Dropped += l.dropped()
	}
	return q
}
