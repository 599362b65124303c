package sockopt

import (
	"cmp"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// activeUse is a place where options are in use, as the admin API shows it: a
// listening address, the transport to backends of a server, or its routes.
type activeUse struct {
	Server   string      `json:"server"`
	Address  string      `json:"address,omitempty"`  // of the listener, or of the backends
	QuickAck string      `json:"quickack,omitempty"` // not of a route
	Options  []effect    `json:"options"`
	Counters countersNow `json:"counters"`

	owner    any // the module
	server   *caddyhttp.Server
	counters *counters
}

// activeUses are those of the running configuration and, while one takes over
// from another, of both.
type activeUses struct {
	mu   sync.Mutex
	uses []*activeUse
}

var activeListeners, activeTransports, activeRoutes activeUses

func (a *activeUses) add(owner any, server *caddyhttp.Server, address string, s settings, c *counters) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.uses = append(a.uses, &activeUse{
		Server:   serverName(server),
		Address:  address,
		QuickAck: string(s.ack),
		Options:  s.effects,
		owner:    owner,
		server:   server,
		counters: c,
	})
}

// withoutAcks shows that a module's connections are acknowledged as without it.
func (a *activeUses) withoutAcks(owner any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.uses {
		if u.owner == owner {
			u.QuickAck = string(socket.AckOff)
		}
	}
}

// count returns how many uses a server of one configuration has for an address.
func (a *activeUses) count(server *caddyhttp.Server, address string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.uses {
		if u.server == server && u.Address == address {
			n++
		}
	}
	return n
}

// remove removes all uses of a module.
func (a *activeUses) remove(owner any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.uses = slices.DeleteFunc(a.uses, func(u *activeUse) bool { return u.owner == owner })
}

// now returns the active uses with their counters at this moment, by server and
// address.
func (a *activeUses) now() []activeUse {
	a.mu.Lock()
	now := make([]activeUse, len(a.uses))
	for i, u := range a.uses {
		now[i] = *u
	}
	a.mu.Unlock()
	for i := range now {
		now[i].Counters = now[i].counters.now()
	}
	slices.SortStableFunc(now, func(a, b activeUse) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Address, b.Address))
	})
	return now
}

// serverOf returns the HTTP server whose module is provisioned, or nil where the
// module is not part of one.
func serverOf(ctx caddy.Context) *caddyhttp.Server {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server
}

func serverName(server *caddyhttp.Server) string {
	if server == nil {
		return ""
	}
	return server.Name()
}
