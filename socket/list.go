package socket

import "sync"

// List has connections that are open. The zero value is empty. A connection is in one List at most.
// Adding and removing allocates nothing: the connections themselves hold the list together.
type List struct {
	mu    sync.Mutex
	first *Conn
}

// links are a Conn's place in its List: what points to it, and the Conn after it.
type links struct {
	before **Conn
	after  *Conn
}

// Add adds a connection that is in no List.
func (l *List) Add(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.after = l.first; c.after != nil {
		c.after.before = &c.after
	}
	l.first, c.before = c, &l.first
}

// Remove removes a connection. One that is in no List it leaves alone.
func (l *List) Remove(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.before == nil {
		return
	}
	if *c.before = c.after; c.after != nil {
		c.after.before = c.before
	}
	c.links = links{}
}

// Append appends the connections to all, the latest first.
func (l *List) Append(all []*Conn) []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := l.first; c != nil; c = c.after {
		all = append(all, c)
	}
	return all
}

// Empty reports whether there are no connections.
func (l *List) Empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first == nil
}
