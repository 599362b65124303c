package sockopt

import (
	"cmp"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// activeUse is a place where options are in use, as the admin API shows it: a
// listening address, a transport to backends, or the routes of a server.
type activeUse struct {
	Server   string           `json:"server"`
	Address  string           `json:"address,omitempty"`  // of the listener, or of the backends
	QuickAck string           `json:"quickack,omitempty"` // not of a route
	Metrics  bool             `json:"metrics"`
	Options  []options.Effect `json:"options"`
	Counters map[string]any   `json:"counters"`

	AcceptQueue *stats.AcceptQueue `json:"accept_queue,omitempty"` // of a listener

	owner    any // the module
	server   *caddyhttp.Server
	counters *stats.Counters
}

// activeUses are the uses in the running configuration or, while one replaces another,
// in both.
type activeUses struct {
	direction stats.Direction

	mu   sync.Mutex
	uses []*activeUse
}

var (
	activeListeners  = activeUses{direction: stats.Accepted}
	activeTransports = activeUses{direction: stats.Dialed}
	activeRoutes     = activeUses{direction: stats.Route}
)

// add adds a use of a module and returns its counters.
func (a *activeUses) add(owner any, server httpServer, address string, r *options.Resolved) *stats.Counters {
	a.mu.Lock()
	defer a.mu.Unlock()
	origin := stats.Origin{Direction: a.direction, Server: server.name(), Address: address}
	if a.direction != stats.Accepted { // an address has one listener
		origin.Nth = a.count(server, address)
	}
	u := &activeUse{
		Server:   server.name(),
		Address:  address,
		QuickAck: string(r.Ack.Mode),
		Metrics:  r.Metrics,
		Options:  r.Effects,
		owner:    owner,
		server:   server.Server,
		counters: stats.Use(origin),
	}
	a.uses = append(a.uses, u)
	return u.counters
}

// count returns how many uses a server of one configuration has for an address.
func (a *activeUses) count(server httpServer, address string) (n int) {
	for _, u := range a.uses {
		if u.server == server.Server && u.Address == address {
			n++
		}
	}
	return n
}

// has reports whether a server of one configuration has a use.
func (a *activeUses) has(server httpServer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.uses, func(u *activeUse) bool { return u.server == server.Server })
}

// set reports whether a use of a server sets an option.
func (a *activeUses) set(server httpServer, option string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.uses, func(u *activeUse) bool {
		return u.server == server.Server && slices.ContainsFunc(u.Options, func(e options.Effect) bool { return e.Option == option })
	})
}

// remove removes all uses of a module.
func (a *activeUses) remove(owner any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.uses = slices.DeleteFunc(a.uses, func(u *activeUse) bool {
		if u.owner != owner {
			return false
		}
		u.counters.Done()
		return true
	})
}

// now returns the active uses with their counters, by server and address.
func (a *activeUses) now() []activeUse {
	a.mu.Lock()
	now := make([]activeUse, len(a.uses))
	for i, u := range a.uses {
		now[i] = *u
	}
	a.mu.Unlock()
	for i := range now {
		now[i].Counters = now[i].counters.Now()
		now[i].AcceptQueue = now[i].counters.AcceptQueue()
	}
	slices.SortStableFunc(now, func(a, b activeUse) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Address, b.Address))
	})
	return now
}
