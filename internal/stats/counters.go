// Package stats counts what happens to connections, for the admin API, the log and Prometheus.
package stats

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// The counters, one a row. The rest about a counter follows from its row: its storage,
// its name in the answer of the admin API, and its metric.
var (
	Connections  = counter("connections", "connections_total", "Connections accepted from clients, or dialed to backends.")
	Acknowledged = counter("acknowledged", "acknowledgements_total", "Acknowledgements that quickack auto or on asked the kernel for.")
	Wasted       = counter("wasted", "wasted_acknowledgements_total", "Acknowledgements that helped nobody: a write would have carried them, or the peer's bytes came much later.")
	Patient      = counter("patient", "patient_connections_total", "Times that a connection stopped asking for acknowledgements, because they were needless.")
	Stalled      = counter("suspected_stalls", "suspected_stalls_total", "Waits for a peer's next bytes that took as long as a delayed acknowledgement, where none was asked for.")
	Prevented    = counter("prevented_waits", "prevented_waits_total", "Acknowledgements of quickack auto that a peer has waited for: without them it would have waited for a delayed acknowledgement.")
	Unreachable  = counter("unreachable", "unreachable_connections_total", "Connections in which no TCP socket was found, so that they go without options.")
)

// Counter is one thing that is counted of the connections of each origin.
type Counter struct {
	index  int // in counters, and in Counters.counts
	name   string
	metric *prometheus.CounterVec
}

// counters has every Counter, in the order of the rows.
var counters []Counter

func counter(name, metric, help string) Counter {
	c := Counter{len(counters), name, total(metric, help)}
	counters = append(counters, c)
	allCounters.vectors = append(allCounters.vectors, c.metric)
	return c
}

// Of returns what was counted for an origin.
func (c Counter) Of(o *Counters) uint64 { return o.counts[c.index].Load() }

// add counts one more and returns how many there are now.
func (c Counter) add(o *Counters) uint64 { return o.counts[c.index].Add(1) }

// Counters count what the connections of one origin do. They survive a reload, and are
// dropped some time after the last configuration with that origin has ended.
type Counters struct {
	origin Origin
	place  []byte // of the origin, as JSON
	counts []atomic.Uint64
	open   socket.List

	received atomic.Int64  // segments with data, on connections that were closed
	noPort   atomic.Uint64 // dials that found no free source port

	metrics atomic.Int32 // uses that want those of its connections

	mu        sync.Mutex
	refused   map[refusalKey]uint64
	listeners []*listener
	dropped   uint64 // by listening sockets that were closed

	// These are guarded by the registry's mutex.
	configurations int  // running ones with the origin
	scraped        bool // since there are none
}

type refusalKey struct{ option, errno string }

// Origin is where connections come from.
type Origin struct {
	Direction Direction `json:"-"`
	Server    string    `json:"server"`             // name of the HTTP server that accepts or dials them
	Address   string    `json:"address,omitempty"`  // of the listener
	Upstream  string    `json:"upstream,omitempty"` // the backend
	QuickAck  string    `json:"-"`                  // the mode of dialed connections: a backend may have several
	Nth       int       `json:"-"`                  // tells apart origins that are equal in the rest
}

// Direction is how connections come about, as metrics name it.
type Direction string

// The directions.
const (
	Accepted Direction = "accepted"
	Dialed   Direction = "dialed"
	Route    Direction = "route" // accepted ones, while a route is served
)

// mostUnused bounds how many counters stay that no configuration uses.
const mostUnused = 100

// registry has the counters of all origins.
var registry = struct {
	sync.Mutex
	of     map[Origin]*Counters
	equal  map[labelValues]int // how many of them have these labels
	unused []*Counters         // the one that is unused for longest is first
}{of: make(map[Origin]*Counters), equal: make(map[labelValues]int)}

// For returns the counters of an origin for a configuration that has it. The caller
// calls Done when the configuration ends.
func For(o Origin) *Counters {
	registry.Lock()
	defer registry.Unlock()
	c, ok := registry.of[o]
	if !ok {
		place, _ := json.Marshal(o.place())
		c = &Counters{origin: o, place: place, counts: make([]atomic.Uint64, len(counters)), refused: make(map[refusalKey]uint64)}
		registry.of[o] = c
		registry.equal[o.labels()]++
	} else if c.configurations == 0 {
		registry.unused = slices.DeleteFunc(registry.unused, func(other *Counters) bool { return other == c })
	}
	c.configurations++
	return c
}

// Done is called when a configuration ends. Connections that are still open go on counting.
func (c *Counters) Done() {
	registry.Lock()
	defer registry.Unlock()
	if c.configurations--; c.configurations == 0 {
		c.scraped = false
		registry.unused = append(registry.unused, c)
		dropUnused()
	}
}

// dropUnused drops counters that no running configuration uses: those that a scrape
// has read since, and the oldest of many.
func dropUnused() {
	tooMany := len(registry.unused) - mostUnused
	registry.unused = slices.DeleteFunc(registry.unused, func(c *Counters) bool {
		tooMany--
		if tooMany < 0 && !c.scraped || !c.open.Empty() { // those are shown
			return false
		}
		delete(registry.of, c.origin)
		labels := c.origin.labels()
		if registry.equal[labels]--; registry.equal[labels] == 0 {
			delete(registry.equal, labels)
			for _, m := range closeMetrics {
				m.DeleteLabelValues(labels[:]...)
			}
		}
		return true
	})
}

// refuse counts an option that a connection refused, and returns how often it has been refused for this reason.
func (c *Counters) refuse(key refusalKey) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[key]++
	return c.refused[key]
}

// Refusal is how often an option was refused for one reason.
type Refusal struct {
	Option string `json:"option"`
	Kernel string `json:"kernel"` // the kernel's name of the option
	Errno  string `json:"errno"`
	Count  uint64 `json:"count"`
}

// Refusals returns how often connections refused options.
func (c *Counters) Refusals() []Refusal {
	c.mu.Lock()
	refused := make([]Refusal, 0, len(c.refused))
	for key, count := range c.refused {
		refused = append(refused, Refusal{options.NameOf(key.option), key.option, key.errno, count})
	}
	c.mu.Unlock()
	slices.SortFunc(refused, func(a, b Refusal) int {
		return cmp.Or(cmp.Compare(a.Kernel, b.Kernel), cmp.Compare(a.Errno, b.Errno))
	})
	return refused
}

// Now returns the counters by name, and as "refused" what Refusals returns.
func (c *Counters) Now() map[string]any {
	now := map[string]any{"refused": c.Refusals()}
	for _, counter := range counters {
		now[counter.name] = counter.Of(c)
	}
	return now
}
