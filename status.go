package sockopt

import (
	"cmp"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// entry is an entry of GET /sockopt/: a listening address, a transport to backends, or the
// routes of a server, with the options that are in effect there.
type entry struct {
	stats.Origin
	Position string `json:"position,omitempty"`        // of a route or a transport: where the admin API has its configuration
	QuickAck string `json:"quickack,omitempty"`        // not of a route
	Reason   string `json:"quickack_reason,omitempty"` // why it is off though the configuration has it on

	Metrics  bool             `json:"metrics"`
	Options  []options.Effect `json:"options"`
	Counters map[string]any   `json:"counters"`

	AcceptQueue *stats.AcceptQueue `json:"accept_queue,omitempty"` // of a listener

	server   *server
	module   any
	observer *stats.Observer
}

// show adds an entry of a module, with what counts its connections, until the configuration ends.
func (s *server) show(origin stats.Origin, r *options.Resolved, module any, log *zap.Logger) *entry {
	origin.Server = s.Name()
	if origin.Direction == stats.Dialed { // an address has one listener
		origin.QuickAck = string(r.Ack.Mode)
	}
	configurations.Lock()
	defer configurations.Unlock()
	if origin.Direction != stats.Accepted {
		s.nth[origin]++
		origin.Nth = s.nth[origin] - 1
	}
	e := &entry{
		Origin:   origin,
		QuickAck: string(r.Ack.Mode),
		Metrics:  r.Metrics,
		Options:  r.Effects,
		server:   s,
		module:   module,
		observer: stats.NewObserver(stats.For(origin), log, r.Metrics),
	}
	e.observer.WithoutPeers, e.observer.CountsReceived = r.WithoutPeers, r.Ack.Mode == socket.AckOff
	s.configuration.used.Store(true)
	if s.configuration.ctx.Err() == nil {
		s.entries = append(s.entries, e)
	} else { // a request outlasts its configuration
		e.observer.Done()
	}
	return e
}

// shownEntries returns the entries of one direction, by server and address.
func shownEntries(direction stats.Direction) []entry {
	entries := []entry{}
	configurations.Lock()
	defer configurations.Unlock()
	for _, c := range configurations.all {
		for _, s := range c.servers {
			for _, e := range s.entries {
				if e.Direction == direction && c.ctx.Err() == nil {
					entries = append(entries, *e)
					entries[len(entries)-1].Position = c.positions[e.module]
				}
			}
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Address, b.Address),
			cmp.Compare(a.Upstream, b.Upstream), cmp.Compare(a.Nth, b.Nth))
	})
	return entries
}

// entriesOf returns the entries of one direction with their counters.
func entriesOf(direction stats.Direction) []entry {
	entries := shownEntries(direction)
	var drops socket.Drops
	for i := range entries {
		entries[i].Counters = entries[i].observer.Now()
		entries[i].AcceptQueue = entries[i].observer.AcceptQueue(&drops)
		if ln := entries[i].observer.Listening(); ln != nil {
			entries[i].Options = withDevice(entries[i].Options, ln)
		}
	}
	return entries
}

// packetStatus is a UDP socket as the admin API shows it.
type packetStatus struct {
	stats.Datagrams
	Metrics bool             `json:"metrics"`
	Options []options.Effect `json:"options"`

	// What getsockopt(2) reads of the buffers, which is double what was set.
	RecvBuffer int64 `json:"recv_buffer"`
	SendBuffer int64 `json:"send_buffer"`

	socket *packetSocket
}

// now returns the sockets that have a user, by server and address.
func (l *packetSocketList) now() []packetStatus {
	l.lock()
	defer l.mu.Unlock()
	now := []packetStatus{}
	for _, s := range l.all {
		if len(s.users) == 0 {
			continue
		}
		u := s.users[0]
		status := packetStatus{
			Datagrams: stats.Datagrams{Server: u.server, Address: s.LocalAddr().String()},
			Metrics:   u.resolved.Metrics,
			Options:   withDevice(u.resolved.Live(s.UDPConn), s.UDPConn),
			socket:    s,
		}
		// What cannot be read stays 0: that is so on systems other than Linux.
		recv, _ := socket.Get(s.UDPConn, socket.RecvBuffer)
		send, _ := socket.Get(s.UDPConn, socket.SendBuffer)
		status.RecvBuffer, status.SendBuffer = recv.Number, send.Number
		status.Dropped, _ = new(socket.Drops).Of(s.UDPConn)
		now = append(now, status)
	}
	slices.SortStableFunc(now, func(a, b packetStatus) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Address, b.Address))
	})
	return now
}

// dropped returns the sockets whose user has metrics.
func (l *packetSocketList) dropped() (all []stats.Datagrams) {
	for _, s := range l.now() {
		if s.Metrics {
			all = append(all, s.Datagrams)
		}
	}
	return all
}
