package sockopt

import (
	"cmp"
	"slices"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// entry is an entry of GET /sockopt/: a listening address, a transport to backends, or the
// routes of a server, with the options that are in effect there.
type entry struct {
	Server   string           `json:"server"`
	Address  string           `json:"address,omitempty"`  // of the listener, or of the backends
	QuickAck string           `json:"quickack,omitempty"` // not of a route
	Metrics  bool             `json:"metrics"`
	Options  []options.Effect `json:"options"`
	Counters map[string]any   `json:"counters"`

	AcceptQueue *stats.AcceptQueue `json:"accept_queue,omitempty"` // of a listener

	server   *server
	origin   stats.Origin
	counters *stats.Counters
}

// show adds an entry, which has counters. The caller calls hide when they are no longer used.
func (s *server) show(direction stats.Direction, address string, r *options.Resolved) *entry {
	origin := stats.Origin{Direction: direction, Server: s.Name(), Address: address}
	configurations.Lock()
	defer configurations.Unlock()
	if direction != stats.Accepted { // an address has one listener
		s.nth[origin]++
		origin.Nth = s.nth[origin] - 1
	}
	e := &entry{
		Server:   s.Name(),
		Address:  address,
		QuickAck: string(r.Ack.Mode),
		Metrics:  r.Metrics,
		Options:  r.Effects,
		server:   s,
		origin:   origin,
		counters: stats.For(origin),
	}
	s.entries[e] = true
	return e
}

// hide removes an entry, which may be nil or removed.
func (e *entry) hide() {
	configurations.Lock()
	defer configurations.Unlock()
	if e != nil && e.server.entries[e] {
		delete(e.server.entries, e)
		e.counters.Done()
	}
}

// entriesOf returns the entries of one direction with their counters, by server and
// address.
func entriesOf(direction stats.Direction) []entry {
	entries := []entry{}
	configurations.Lock()
	for _, c := range configurations.all {
		for _, s := range c.servers {
			for e := range s.entries {
				if e.origin.Direction == direction {
					entries = append(entries, *e)
				}
			}
		}
	}
	configurations.Unlock()
	var drops socket.Drops
	for i := range entries {
		entries[i].Counters = entries[i].counters.Now()
		entries[i].AcceptQueue = entries[i].counters.AcceptQueue(&drops)
		if ln := entries[i].counters.Listening(); ln != nil {
			entries[i].Options = withDevice(entries[i].Options, ln)
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Address, b.Address), cmp.Compare(a.origin.Nth, b.origin.Nth))
	})
	return entries
}
