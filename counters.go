package sockopt

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// counters count what the connections of one origin did. They live as long as the process, so that they survive a change
// of configuration.
type counters struct {
	connections  atomic.Uint64 // accepted or dialed
	acknowledged atomic.Uint64
	unreachable  atomic.Uint64
	stalled      atomic.Uint64

	mu      sync.Mutex
	refused map[refusalKey]uint64
}

type refusalKey struct{ option, errno string }

// origin is where connections come from.
type origin struct {
	direction direction
	server    string // whose backends or routes they are
	address   string // of the listener, or of the backends
	nth       int    // of those that are the same in all this
}

// direction is how connections come about, as metrics name it.
type direction string

const (
	directionAccepted direction = "accepted"
	directionDialed   direction = "dialed"
	directionRoute    direction = "route" // accepted ones, while a route is served
)

// allCounters are the counters by origin: as many as there are in the
// configurations that this process has run.
var allCounters = struct {
	sync.Mutex
	of map[origin]*counters
}{of: make(map[origin]*counters)}

// countersOf returns the counters of an origin.
func countersOf(o origin) *counters {
	allCounters.Lock()
	defer allCounters.Unlock()
	c, ok := allCounters.of[o]
	if !ok {
		c = &counters{refused: make(map[refusalKey]uint64)}
		allCounters.of[o] = c
	}
	return c
}

// refuse counts an option that a connection refused, and returns how often it
// has been refused for this reason.
func (c *counters) refuse(key refusalKey) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[key]++
	return c.refused[key]
}

// countersNow are counters at one moment.
type countersNow struct {
	// Connections that were accepted or dialed.
	Connections uint64 `json:"connections"`

	// Acknowledgements that quickack auto or on asked for.
	Acknowledged uint64 `json:"acknowledged"`

	// Connections in which no TCP socket was found.
	Unreachable uint64 `json:"unreachable"`

	// Waits that look like those of a delayed acknowledgement.
	Stalled uint64 `json:"suspected_stalls"`

	// Options that connections refused.
	Refused []refusal `json:"refused"`
}

// refusal is how often an option was refused for one reason.
type refusal struct {
	Option string `json:"option"`
	Kernel string `json:"kernel"` // the kernel's name of the option
	Errno  string `json:"errno"`
	Count  uint64 `json:"count"`
}

func (c *counters) now() countersNow {
	now := countersNow{
		Connections:  c.connections.Load(),
		Acknowledged: c.acknowledged.Load(),
		Unreachable:  c.unreachable.Load(),
		Stalled:      c.stalled.Load(),
		Refused:      []refusal{},
	}
	c.mu.Lock()
	for key, count := range c.refused {
		now.Refused = append(now.Refused, refusal{rowOf(socket.Option{Name: key.option}).name, key.option, key.errno, count})
	}
	c.mu.Unlock()
	slices.SortFunc(now.Refused, func(a, b refusal) int {
		return cmp.Or(cmp.Compare(a.Kernel, b.Kernel), cmp.Compare(a.Errno, b.Errno))
	})
	return now
}
