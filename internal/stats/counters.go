// Package stats counts what happens to connections, for the admin API, the log and
// Prometheus.
package stats

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// Counters count what the connections of one origin do. They survive a reload, and are
// dropped some time after the last configuration with that origin has ended.
type Counters struct {
	origin Origin

	connections  atomic.Uint64 // accepted or dialed
	acknowledged atomic.Uint64
	wasted       atomic.Uint64
	patient      atomic.Uint64
	unreachable  atomic.Uint64
	stalled      atomic.Uint64

	listening listening

	mu      sync.Mutex
	refused map[refusalKey]uint64

	// These are guarded by the registry's mutex.
	uses    int       // in running configurations
	unused  time.Time // since when there are none
	scraped bool      // since then
}

type refusalKey struct{ option, errno string }

// Origin is where connections come from.
type Origin struct {
	Direction Direction
	Server    string // name of the HTTP server that accepts or dials them
	Address   string // of the listener, or of the backends
	Nth       int    // tells apart origins that are equal in the rest
}

// Direction is how connections come about, as metrics name it.
type Direction string

// The directions.
const (
	Accepted Direction = "accepted"
	Dialed   Direction = "dialed"
	Route    Direction = "route" // accepted ones, while a route is served
)

const (
	// keepUnused is how long counters stay after the last configuration that used them,
	// unless a scrape has read them since.
	keepUnused = time.Hour

	// mostUnused bounds how many of these stay.
	mostUnused = 100
)

// registry has the counters of all origins.
var registry = struct {
	sync.Mutex
	of map[Origin]*Counters
}{of: make(map[Origin]*Counters)}

// Use returns the counters of an origin for a configuration that has it. The caller
// calls Done when the configuration ends.
func Use(o Origin) *Counters {
	registry.Lock()
	defer registry.Unlock()
	c, ok := registry.of[o]
	if !ok {
		c = &Counters{origin: o, refused: make(map[refusalKey]uint64)}
		registry.of[o] = c
	}
	c.uses++
	return c
}

// Done ends one use. Connections that are still open go on counting.
func (c *Counters) Done() {
	registry.Lock()
	defer registry.Unlock()
	c.uses--
	c.unused, c.scraped = time.Now(), false
	dropUnused()
}

// dropUnused drops counters that no running configuration uses: those that a scrape
// has read since, those that are old, and the oldest of many.
func dropUnused() {
	var unused []*Counters
	for _, c := range registry.of {
		switch {
		case c.uses > 0:
		case c.scraped, time.Since(c.unused) > keepUnused:
			c.drop()
		default:
			unused = append(unused, c)
		}
	}
	if len(unused) <= mostUnused {
		return
	}
	slices.SortFunc(unused, func(a, b *Counters) int { return a.unused.Compare(b.unused) })
	for _, c := range unused[:len(unused)-mostUnused] {
		c.drop()
	}
}

func (c *Counters) drop() {
	delete(registry.of, c.origin)
	for o := range registry.of {
		if slices.Equal(o.labels(), c.origin.labels()) {
			return
		}
	}
	dropCloseMetrics(c.origin)
}

// refuse counts an option that a connection refused, and returns how often it
// has been refused for this reason.
func (c *Counters) refuse(key refusalKey) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[key]++
	return c.refused[key]
}

// CountersNow are counters at one moment.
type CountersNow struct {
	// Connections that were accepted or dialed.
	Connections uint64 `json:"connections"`

	// Acknowledgements that quickack auto or on asked for.
	Acknowledged uint64 `json:"acknowledged"`

	// Those that turned out to be needless: the response would have carried them.
	Wasted uint64 `json:"wasted"`

	// Times that a connection stopped acknowledging, because it was needless.
	Patient uint64 `json:"patient"`

	// Connections in which no TCP socket was found.
	Unreachable uint64 `json:"unreachable"`

	// Waits that look like those for a delayed acknowledgement.
	Stalled uint64 `json:"suspected_stalls"`

	// Options that connections refused.
	Refused []Refusal `json:"refused"`
}

// Refusal is how often an option was refused for one reason.
type Refusal struct {
	Option string `json:"option"`
	Kernel string `json:"kernel"` // the kernel's name of the option
	Errno  string `json:"errno"`
	Count  uint64 `json:"count"`
}

// Now returns the counters.
func (c *Counters) Now() CountersNow {
	now := CountersNow{
		Connections:  c.connections.Load(),
		Acknowledged: c.acknowledged.Load(),
		Wasted:       c.wasted.Load(),
		Patient:      c.patient.Load(),
		Unreachable:  c.unreachable.Load(),
		Stalled:      c.stalled.Load(),
		Refused:      []Refusal{},
	}
	c.mu.Lock()
	for key, count := range c.refused {
		now.Refused = append(now.Refused, Refusal{options.NameOf(key.option), key.option, key.errno, count})
	}
	c.mu.Unlock()
	slices.SortFunc(now.Refused, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(a.Kernel, b.Kernel), cmp.Compare(a.Errno, b.Errno))
	})
	return now
}
