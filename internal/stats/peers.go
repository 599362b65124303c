package stats

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Wait says where a peer waits.
type Wait string

// The waits.
const (
	beforeFirstResponse Wait = "before_first_response"
	later               Wait = "later"
	ofBackend           Wait = "backend"
)

// Peer is an address whose connections wait for acknowledgements.
type Peer struct {
	Peer   netip.Prefix `json:"peer"` // an address of IPv4, or a /64 of IPv6
	Server string       `json:"server"`
	Kind   Wait         `json:"kind"`
	Count  uint64       `json:"count"`
	Last   time.Time    `json:"last"`

	others uint64 // acknowledgements that it did not wait for
}

const (
	// mostPeers bounds the table. The one that is seen least goes first.
	mostPeers = 1000

	// keepPeer is how long a peer stays after its last wait.
	keepPeer = time.Hour

	// A peer that does not wait looks like one by chance: bytes come at the right moment. A peer is
	// shown after leastWaits, and where one acknowledgement in fewestWaits or more was waited for.
	leastWaits, fewestWaits = 3, 16
)

// peerTable has the peers of this process.
type peerTable struct {
	size atomic.Int64 // of the map: most peers are never in it
	mu   sync.Mutex
	of   map[Peer]*Peer // by what it is without its counts
}

var peers = peerTable{of: make(map[Peer]*Peer)}

// answered counts an acknowledgement after which a peer's bytes came.
func (t *peerTable) answered(key Peer, waited bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.of[key]
	if p == nil && !waited {
		return
	}
	if p == nil {
		t.makeRoom(now)
		p = new(key)
		t.of[key] = p
		t.size.Store(int64(len(t.of)))
	}
	if waited {
		p.Count++
		p.Last = now
	} else {
		p.others++
	}
}

// makeRoom drops a peer where the table is full: one that is old, or the one that waited least.
func (t *peerTable) makeRoom(now time.Time) {
	if len(t.of) < mostPeers {
		return
	}
	var least Peer
	for key, p := range t.of {
		if now.Sub(p.Last) > keepPeer {
			delete(t.of, key)
		} else if found := t.of[least]; found == nil || p.Count < found.Count {
			least = key
		}
	}
	if len(t.of) >= mostPeers {
		delete(t.of, least)
	}
}

// Peers returns the peers that wait, those that wait most first.
func Peers() []Peer { return peers.now(time.Now()) }

func (t *peerTable) now(now time.Time) []Peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := []Peer{}
	for key, p := range t.of {
		switch {
		case now.Sub(p.Last) > keepPeer:
			delete(t.of, key)
		case p.Count >= leastWaits && p.Count*fewestWaits >= p.Count+p.others:
			all = append(all, *p)
		}
	}
	slices.SortFunc(all, func(a, b Peer) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), a.Peer.Compare(b.Peer), cmp.Compare(a.Server, b.Server), cmp.Compare(a.Kind, b.Kind))
	})
	return all
}

// keyOf returns the place of a connection's peer in the table.
func (o *Observer) keyOf(c *socket.Conn) (key Peer) {
	key.Server, key.Kind = o.origin.Server, beforeFirstResponse
	switch {
	case o.origin.Direction == Dialed:
		key.Kind = ofBackend
	case c.HadResponse():
		key.Kind = later
	}
	addr := addrPort(c.RemoteAddr()).Addr()
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64 // a client has all of it
	}
	key.Peer, _ = addr.WithZone("").Prefix(bits)
	return key
}

// Answered implements socket.Observer.
func (o *Observer) Answered(c *socket.Conn, waited bool) {
	if waited {
		Prevented.add(o.Counters)
	}
	if !o.WithoutPeers && (waited || peers.size.Load() > 0) {
		peers.answered(o.keyOf(c), waited, time.Now())
	}
}
