package stats

import (
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Look is what was counted until a moment. Two of them tell what happened in between.
type Look struct {
	totals map[Origin]Totals
	conns  map[*socket.Conn]Progress
}

// Totals are what was counted of the connections of one origin.
type Totals struct {
	Connections, Stalled, Unreachable uint64

	Multipath uint64       // connections that refused TCP_QUICKACK
	NoPort    uint64       // dials that found no free source port
	Received  int64        // segments with data from peers; those of closed connections where quickack is off or with metrics
	Queue     *AcceptQueue // or nil
	Dropped   uint64       // by listening sockets

	OpenTotals
	oneIn uint64 // of the open connections one in so many was looked at
}

// OpenTotals are what the connections that are open did since the look before.
type OpenTotals struct {
	Open     int
	Vanished int // those whose peer has acknowledged nothing for VanishedAfter
	Progress
	Lost, LostWithBBR Losses
}

// VanishedAfter is how long a peer that has vanished has acknowledged nothing of what it was sent.
var VanishedAfter = time.Minute

// Losses are what connections lost that sent something.
type Losses struct {
	Sent, Retransmitted int64         // segments with data
	RTT, MinRTT         time.Duration // sums over the connections that sent again
}

// chosen says which connections are looked at where there are many: the same in each look.
var chosen = maphash.MakeSeed()

// TakeLook reads the counters of all origins, and TCP_INFO of at most so many open connections of each, or of all
// where most is 0. It returns what happened since the look before, by origin. What is newer than that began at 0.
func TakeLook(before Look, most int) (now Look, between map[Origin]Totals) {
	now = Look{make(map[Origin]Totals), make(map[*socket.Conn]Progress, len(before.conns))}
	between = make(map[Origin]Totals)
	registry.Lock()
	all := slices.Collect(maps.Values(registry.of))
	registry.Unlock()
	var drops socket.Drops
	var conns []*socket.Conn
	var o Open
	for _, c := range all {
		t, earlier := c.totals(&drops), before.totals[c.origin]
		conns = c.open.Append(conns[:0])
		for t.oneIn = 1; most > 0 && len(conns) > most*int(t.oneIn); t.oneIn *= 2 { //nolint:gosec // it fits
		}
		open := OpenTotals{Open: len(conns)}
		for _, conn := range conns {
			choice := maphash.Comparable(chosen, conn)
			o.conn, o.of = conn, c
			if choice%t.oneIn != 0 || !o.read() {
				continue
			}
			p := o.progress()
			now.conns[conn] = p
			start, known := before.conns[conn]
			if known || choice%max(earlier.oneIn, 1) == 0 { // otherwise it may be older than that look
				open.add(&o, p.minus(start), int(t.oneIn)) //nolint:gosec // it fits
			}
		}
		now.totals[c.origin] = t
		d := t.minus(earlier)
		d.OpenTotals = open
		d.Received += open.Received
		between[c.origin] = d
	}
	return now, between
}

func (c *Counters) totals(drops *socket.Drops) Totals {
	t := Totals{
		Connections: Connections.Of(c), Stalled: Stalled.Of(c), Unreachable: Unreachable.Of(c),
		Received: c.received.Load(), NoPort: c.noPort.Load(), Queue: c.AcceptQueue(drops),
	}
	if t.Queue != nil && t.Queue.Dropped != nil {
		t.Dropped = *t.Queue.Dropped
	}
	for _, r := range c.Refusals() {
		if r.Kernel == socket.QuickAck.Name {
			t.Multipath += r.Count
		}
	}
	return t
}

func (t Totals) minus(before Totals) Totals {
	// An origin may have gone and come back, with counters from 0.
	t.Connections -= min(t.Connections, before.Connections)
	t.Stalled -= min(t.Stalled, before.Stalled)
	t.Unreachable -= min(t.Unreachable, before.Unreachable)
	t.Multipath -= min(t.Multipath, before.Multipath)
	t.NoPort -= min(t.NoPort, before.NoPort)
	t.Received -= min(t.Received, before.Received)
	t.Dropped -= min(t.Dropped, before.Dropped) // those of a socket with defer_accept are not known
	return t
}

// Progress is what the kernel has counted of a connection, or of several.
type Progress struct {
	Busy, PeerWindow, SendBuffer  time.Duration // with something to send, and held up
	Sent, Retransmitted, Received int64         // segments with data; Retransmitted are among Sent
}

func (o *Open) progress() Progress {
	return Progress{
		o.Duration(socket.BusyTime), o.Duration(socket.RwndLimited), o.Duration(socket.SndbufLimited),
		o.count(socket.DataSegsOut), o.count(socket.TotalRetrans), o.count(socket.DataSegsIn),
	}
}

// count returns a figure, 0 where it is not known.
func (o *Open) count(f socket.Figure) int64 {
	if value, known := o.Value(f); known {
		return value
	}
	return 0
}

func (p Progress) minus(before Progress) Progress {
	return Progress{
		p.Busy - before.Busy, p.PeerWindow - before.PeerWindow, p.SendBuffer - before.SendBuffer,
		p.Sent - before.Sent, p.Retransmitted - before.Retransmitted, p.Received - before.Received,
	}
}

// add adds what one connection did, which stands for some.
func (t *OpenTotals) add(o *Open, p Progress, some int) {
	t.Received += p.Received * int64(some)
	t.Busy += p.Busy
	t.PeerWindow += p.PeerWindow
	t.SendBuffer += p.SendBuffer
	// Without a retransmission it is what a peer that was silent is sent just now.
	if o.count(socket.Unacked) > 0 && o.count(socket.Figure{Name: "retransmits"}) > 0 && o.Duration(socket.LastAckRecv) >= VanishedAfter {
		t.Vanished += some
	}
	if p.Sent == 0 {
		return
	}
	lost := &t.Lost
	if congestion, _ := socket.Get(o.conn, socket.Congestion); congestion.Text == "bbr" {
		lost = &t.LostWithBBR
	}
	lost.Sent += p.Sent
	lost.Retransmitted += p.Retransmitted
	if p.Retransmitted > 0 {
		lost.RTT += o.Duration(socket.RTT)
		lost.MinRTT += o.Duration(socket.MinRTT)
	}
}
