package stats

import (
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// AcceptQueue is what the kernel says of the listening sockets of an origin.
type AcceptQueue struct {
	Connections int `json:"connections"` // that wait for Accept
	Limit       int `json:"limit"`       // how many may

	// Dropped is how many the kernel has dropped, mostly because there were more. It is nil with defer_accept: there
	// the kernel counts each connection that it defers, too (tcp_check_req in net/ipv4/tcp_minisocks.c).
	Dropped *uint64 `json:"dropped,omitempty"`
}

// listener is a descriptor of a listening socket. A socket that was handed over (fd/) has one for each configuration.
type listener struct {
	syscall.Conn
	cookie  socket.Value // of the socket, whose duplicates have it, too
	base    uint32       // what the socket had dropped before
	dropped uint32       // what it has dropped since, when that was last read
}

// Listens adds a listening socket. The caller calls closing before it closes it.
func (c *Counters) Listens(ln syscall.Conn) (closing func()) {
	cookie, err := socket.Get(ln, socket.Cookie)
	if err != nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &listener{Conn: ln, cookie: cookie}
	if first := c.firstWith(cookie); first >= 0 {
		l.base = c.listeners[first].base
	} else {
		recent.read(func(d *socket.Drops) { l.base, _ = d.Of(ln) }) // a kernel without SO_MEMINFO (4.12) counts none
	}
	c.listeners = append(c.listeners, l)
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.listeners = slices.DeleteFunc(c.listeners, func(other *listener) bool { return other == l })
		if c.firstWith(cookie) < 0 && !l.defers() {
			recent.read(l.read)
			c.dropped += uint64(l.dropped)
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
func (c *Counters) firstWith(cookie socket.Value) int {
	return slices.IndexFunc(c.listeners, func(l *listener) bool { return l.cookie == cookie })
}

// defers reports whether the socket has defer_accept, whoever set it.
func (l *listener) defers() bool {
	after, err := socket.Get(l, socket.DeferAccept)
	return err == nil && after.Number != 0
}

func (l *listener) read(d *socket.Drops) {
	if now, err := d.Of(l); err == nil {
		l.dropped = max(l.dropped, now-l.base)
	}
}

// recent is read for sockets that are opened or closed. A configuration does that with thousands, so what was read is
// used again for ten times as long as reading it took. A socket that is newer has dropped nothing.
var recent recentDrops

type recentDrops struct {
	sync.Mutex
	*socket.Drops
	until time.Time
}

func (r *recentDrops) read(use func(*socket.Drops)) {
	r.Lock()
	defer r.Unlock()
	if began := time.Now(); began.After(r.until) {
		r.Drops = new(socket.Drops)
		defer func() { r.until = time.Now().Add(10 * time.Since(began)) }()
	}
	use(r.Drops)
}

// AcceptQueue returns the sum over the listening sockets, which are several while one configuration replaces another.
// It is nil where there is none. One Drops serves all origins.
func (c *Counters) AcceptQueue(drops *socket.Drops) *AcceptQueue {
	c.mu.Lock()
	defer c.mu.Unlock()
	var q *AcceptQueue
	dropped, known := c.dropped, true
	for i, l := range c.listeners {
		connections, limit, err := socket.AcceptQueue(l)
		if err != nil || c.firstWith(l.cookie) < i {
			continue
		}
		if q == nil {
			q = new(AcceptQueue)
		}
		q.Connections += connections
		q.Limit += limit
		l.read(drops)
		dropped += uint64(l.dropped)
		known = known && !l.defers()
	}
	if q != nil && known {
		q.Dropped = &dropped
	}
	return q
}
