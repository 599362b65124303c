package stats

import (
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
	Received  int64        // segments with data that peers sent, where quickack is off or with metrics
	Queue     *AcceptQueue // or nil
	Dropped   uint64       // by listening sockets

	OpenTotals
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

// TakeLook reads the counters of all origins, and TCP_INFO of their open connections. It returns
// what happened since the look before, by origin. What is newer than that began at 0.
func TakeLook(before Look) (now Look, between map[Origin]Totals) {
	now = Look{make(map[Origin]Totals), make(map[*socket.Conn]Progress, len(before.conns))}
	between = make(map[Origin]Totals)
	registry.Lock()
	all := slices.Collect(maps.Values(registry.of))
	registry.Unlock()
	var drops socket.Drops
	var conns []*socket.Conn
	var o Open
	for _, c := range all {
		t := c.totals(&drops)
		var open OpenTotals
		conns = c.open.Append(conns[:0])
		for _, conn := range conns {
			o.conn, o.list = conn, &c.open
			if !o.readFirst() {
				continue
			}
			p := o.progress()
			now.conns[conn] = p
			t.Received += p.Received
			open.add(&o, p.minus(before.conns[conn]))
		}
		now.totals[c.origin] = t
		d := t.minus(before.totals[c.origin])
		d.OpenTotals = open
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
	t.Received = max(0, t.Received-before.Received) // a connection may close while it is read
	t.Dropped -= min(t.Dropped, before.Dropped)     // those of a socket with defer_accept are not known
	return t
}

// Progress is what the kernel has counted of a connection, or of several.
type Progress struct {
	Busy, PeerWindow, SendBuffer  time.Duration // with something to send, and held up
	Sent, Retransmitted, Received int64         // segments with data; Retransmitted are among Sent
}

func (o *Open) progress() Progress {
	return Progress{
		o.time(socket.BusyTime), o.time(socket.RwndLimited), o.time(socket.SndbufLimited),
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

func (o *Open) time(f socket.Figure) time.Duration {
	return time.Duration(o.count(f)) * time.Microsecond
}

func (p Progress) minus(before Progress) Progress {
	return Progress{
		p.Busy - before.Busy, p.PeerWindow - before.PeerWindow, p.SendBuffer - before.SendBuffer,
		p.Sent - before.Sent, p.Retransmitted - before.Retransmitted, p.Received - before.Received,
	}
}

// add adds what one connection did.
func (t *OpenTotals) add(o *Open, p Progress) {
	t.Open++
	t.Busy += p.Busy
	t.PeerWindow += p.PeerWindow
	t.SendBuffer += p.SendBuffer
	// Without a retransmission it is what a peer that was silent is sent just now.
	if o.count(socket.Unacked) > 0 && o.count(socket.Figure{Name: "retransmits"}) > 0 && time.Duration(o.count(socket.LastAckRecv))*time.Millisecond >= VanishedAfter {
		t.Vanished++
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
		lost.RTT += o.time(socket.RTT)
		lost.MinRTT += o.time(socket.MinRTT)
	}
}
