package stats

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Limit is what keeps a connection from sending faster.
type Limit string

// The limits, with where the kernel counts them.
const (
	NothingToSend    Limit = "nothing_to_send"
	PeerWindow       Limit = "peer_window"       // TCP_CHRONO_RWND_LIMITED in include/linux/tcp.h
	SendBuffer       Limit = "send_buffer"       // TCP_CHRONO_SNDBUF_LIMITED there
	Loss             Limit = "loss"              // tcpi_total_retrans grows, or tcpi_lost is not 0
	CongestionWindow Limit = "congestion_window" // tcpi_unacked is as large as tcpi_snd_cwnd
	Pacing           Limit = "pacing"            // none of these, and tcpi_notsent_bytes waits
)

// Limits are all of them.
var Limits = []Limit{NothingToSend, PeerWindow, SendBuffer, Loss, CongestionWindow, Pacing}

// Open is a connection that was open when it was measured.
type Open struct {
	Origin      Origin
	Local, Peer netip.AddrPort
	LimitedBy   Limit
	QuickAck    socket.Learned
	socket.Measurement
}

// between is the time between the two readings of a connection: the kernel's times only grow.
const between = 100 * time.Millisecond

// walking permits one walk at a time.
var walking = make(chan struct{}, 1)

// MeasureOpen measures the open connections of the origins that are wanted, and of those the ones
// whose peer is. It takes a bit more than 100 ms.
//
// Errors: that of ctx.
func MeasureOpen(ctx context.Context, origin func(Origin) bool, peer func(netip.Addr) bool) ([]Open, error) {
	select {
	case walking <- struct{}{}:
		defer func() { <-walking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	began := time.Now()
	found := openConns(origin, peer)
	if len(found) == 0 {
		return nil, nil
	}
	for i := range found {
		if i%256 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		found[i].read()
	}
	select {
	case <-time.After(between - time.Since(began)):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	open := make([]Open, 0, len(found))
	for i := range found {
		if i%256 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if o, ok := found[i].measure(); ok {
			open = append(open, o)
		}
	}
	return open, nil
}

// conn is a connection that is measured.
type conn struct {
	*socket.Conn
	list        *socket.List
	origin      Origin
	local, peer netip.AddrPort
	before      progress
	isRead      bool
}

// progress is what the kernel has counted until a moment.
type progress struct{ busy, peerWindow, sendBuffer, retransmitted int64 }

func openConns(origin func(Origin) bool, peer func(netip.Addr) bool) []conn {
	registry.Lock()
	all := slices.Collect(maps.Values(registry.of))
	registry.Unlock()
	var found []conn
	var conns []*socket.Conn
	for _, c := range all {
		if !origin(c.origin) {
			continue
		}
		conns = c.open.Append(conns[:0])
		for _, one := range conns {
			f := conn{Conn: one, list: &c.open, origin: c.origin, local: addrPort(one.LocalAddr()), peer: addrPort(one.RemoteAddr())}
			if peer(f.peer.Addr().WithZone("")) {
				found = append(found, f)
			}
		}
	}
	return found
}

// addrPort returns a TCP address, of IPv4 where it is one in IPv6.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap(), tcp.AddrPort().Port())
}

// read is the first reading. One that is closed meanwhile has none, and measure drops it.
func (c *conn) read() {
	var m socket.Measurement
	if err := c.MeasureFigures(&m); err == nil {
		c.before, c.isRead = progressOf(&m), true
	} else if errors.Is(err, net.ErrClosed) { // through what it contains
		c.list.Remove(c.Conn)
	}
}

func (c *conn) measure() (o Open, ok bool) {
	if !c.isRead || c.Measure(&o.Measurement) != nil {
		return o, false
	}
	o.Origin, o.Local, o.Peer, o.QuickAck = c.origin, c.local, c.peer, c.Learned()
	o.LimitedBy = limitedBy(c.before, progressOf(&o.Measurement), &o.Measurement)
	return o, true
}

func progressOf(m *socket.Measurement) progress {
	figure := func(f socket.Figure) int64 {
		value, _ := m.Value(f)
		return value
	}
	return progress{figure(socket.BusyTime), figure(socket.RwndLimited), figure(socket.SndbufLimited), figure(socket.TotalRetrans)}
}

// limitedBy compares two readings. The kernel adds the time since a state began to its time when it
// is asked (tcp_get_info_chrono_stats in net/ipv4/tcp.c), so that a state that lasts grows, too. What
// took half of the busy time has limited the connection.
func limitedBy(before, now progress, m *socket.Measurement) Limit {
	unsent, _ := m.Value(socket.NotSentBytes)
	unacked, _ := m.Value(socket.Unacked)
	window, _ := m.Value(socket.SndCwnd)
	lost, _ := m.Value(socket.Lost)
	busy := now.busy - before.busy
	switch {
	case busy > 0 && now.peerWindow-before.peerWindow >= busy/2:
		return PeerWindow
	case busy > 0 && now.sendBuffer-before.sendBuffer >= busy/2:
		return SendBuffer
	case unsent == 0:
		return NothingToSend
	case now.retransmitted > before.retransmitted || lost > 0:
		return Loss
	case unacked >= window:
		return CongestionWindow
	}
	return Pacing
}

// Field is a number of a connection in the answer of the admin API.
type Field struct {
	Name string
	of   func(*Open) (value float64, known bool)
}

// Fields are all of them: those of TCP_INFO by the names and in the units of the placeholders, and
// others.
var Fields = fields()

func fields() []Field {
	known := func(of func(*Open) float64) func(*Open) (float64, bool) {
		return func(o *Open) (float64, bool) { return of(o), true }
	}
	all := append(make([]Field, 0, 6+len(socket.Figures)), []Field{
		{"last_data_recv", known(func(o *Open) float64 { return o.SinceReceived.Seconds() })},
		{"last_data_sent", known(func(o *Open) float64 { return o.SinceSent.Seconds() })},
		{"recv_queued", known(func(o *Open) float64 { return float64(o.RecvQueued) })},
		{"recv_buffer", known(func(o *Open) float64 { return float64(o.RecvBuffer) })},
		{"send_queued", known(func(o *Open) float64 { return float64(o.SendQueued) })},
		{"send_buffer", known(func(o *Open) float64 { return float64(o.SendBuffer) })},
	}...)
	for _, f := range socket.Figures {
		all = append(all, Field{f.Name, func(o *Open) (float64, bool) { return o.figure(f) }})
	}
	return all
}

// Of returns the number that o has, in seconds where it is a time. Not every kernel knows each.
func (f Field) Of(o *Open) (value float64, known bool) { return f.of(o) }

// figure returns a figure. Bytes are those of all subflows.
func (o *Open) figure(f socket.Figure) (value float64, known bool) {
	n, known := o.Value(f)
	switch {
	case o.Multipath && f.Name == socket.BytesAcked.Name:
		n = o.BytesAcked
	case o.Multipath && f.Name == socket.BytesReceived.Name:
		n = o.BytesReceived
	case f.Unit == socket.Microseconds:
		return float64(n) / 1e6, known
	}
	return float64(n), known
}

// Place is where a connection belongs.
type Place struct {
	Direction Direction `json:"direction"`
	Server    string    `json:"server"`
	Address   string    `json:"address,omitempty"`  // of the listener
	Upstream  string    `json:"upstream,omitempty"` // that was dialed
}

// Compare orders places.
func (p Place) Compare(other Place) int {
	return cmp.Or(cmp.Compare(p.Direction, other.Direction), cmp.Compare(p.Server, other.Server),
		cmp.Compare(p.Address, other.Address), cmp.Compare(p.Upstream, other.Upstream))
}

// Place returns where o belongs.
func (o *Open) Place() Place {
	return Place{o.Origin.Direction, o.Origin.Server, o.Origin.Address, o.Origin.Upstream}
}

// MarshalJSON writes the fields in their order. What the kernel does not know is null.
func (o *Open) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(struct {
		Place
		Local    netip.AddrPort `json:"local"`
		Peer     netip.AddrPort `json:"peer"`
		MPTCP    bool           `json:"mptcp"`
		Subflows int            `json:"subflows,omitempty"`

		Congestion string         `json:"congestion"`
		LimitedBy  Limit          `json:"limited_by"`
		QuickAck   socket.Learned `json:"quickack"`
	}{o.Place(), o.Local, o.Peer, o.Multipath, o.Subflows, o.Congestion, o.LimitedBy, o.QuickAck})
	if err != nil {
		return nil, err
	}
	b = b[:len(b)-1]
	for _, f := range Fields {
		b = append(append(append(b, `,"`...), f.Name...), `":`...)
		if value, known := f.of(o); known {
			b = strconv.AppendFloat(b, value, 'f', -1, 64)
		} else {
			b = append(b, "null"...)
		}
	}
	return append(b, '}'), nil
}
