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
	Origin          Origin
	Local, Peer     netip.AddrPort
	LimitedBy       Limit
	QuickAck        socket.Learned
	*socket.TCPInfo // the second reading

	measured *socket.Measurement // nil before rest has read it
	conn     *socket.Conn
	list     *socket.List    // that has it
	before   *socket.TCPInfo // the first reading
}

// between is the time between the two readings of a connection: the kernel's times only grow.
const between = 100 * time.Millisecond

// walking permits one walk at a time.
var walking = make(chan struct{}, 1)

// MeasureOpen measures the open connections of the origins that are wanted, and of those the ones
// whose peer is. It takes a bit more than 100 ms.
//
// Errors: that of ctx.
func MeasureOpen(ctx context.Context, origin func(Origin) bool, peer func(netip.Addr) bool) ([]*Open, error) {
	select {
	case walking <- struct{}{}:
		defer func() { <-walking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	began := time.Now()
	open := openConns(origin, peer)
	if len(open) == 0 {
		return nil, nil
	}
	open = slices.DeleteFunc(open, func(o *Open) bool { return ctx.Err() != nil || !o.readFirst() })
	select {
	case <-time.After(between - time.Since(began)):
	case <-ctx.Done():
	}
	open = slices.DeleteFunc(open, func(o *Open) bool { return ctx.Err() != nil || !o.read() })
	return open, ctx.Err()
}

func openConns(origin func(Origin) bool, peer func(netip.Addr) bool) (open []*Open) {
	registry.Lock()
	all := slices.Collect(maps.Values(registry.of))
	registry.Unlock()
	var conns []*socket.Conn
	for _, c := range all {
		if !origin(c.origin) {
			continue
		}
		conns = c.open.Append(conns[:0])
		for _, conn := range conns {
			o := &Open{Origin: c.origin, Local: addrPort(conn.LocalAddr()), Peer: addrPort(conn.RemoteAddr()), conn: conn, list: &c.open}
			if peer(o.Peer.Addr().WithZone("")) {
				open = append(open, o)
			}
		}
	}
	return open
}

// addrPort returns a TCP address, of IPv4 where it is one in IPv6.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap(), tcp.AddrPort().Port())
}

// readFirst is the first reading. A connection that is closed meanwhile has none.
func (o *Open) readFirst() bool {
	var err error
	o.before, err = socket.Info(o.conn)
	if errors.Is(err, net.ErrClosed) { // through what it contains
		o.list.Remove(o.conn)
	}
	o.TCPInfo = o.before
	return err == nil
}

// read is the second reading. Most connections are idle, and need none.
func (o *Open) read() bool {
	unacked, _ := o.Value(socket.Unacked)
	unsent, _ := o.Value(socket.NotSentBytes)
	if unacked > 0 || unsent > 0 {
		again, err := socket.Info(o.conn)
		if err != nil {
			return false
		}
		o.TCPInfo = again
	}
	o.QuickAck = o.conn.Learned()
	o.LimitedBy = limitedBy(o.before, o.TCPInfo)
	return true
}

// rest is what takes calls of its own: few of many connections are shown.
func (o *Open) rest() *socket.Measurement {
	if o.measured == nil {
		o.measured = new(socket.Measure(o.conn))
	}
	return o.measured
}

// limitedBy compares two readings. The kernel adds the time since a state began to its time when it
// is asked (tcp_get_info_chrono_stats in net/ipv4/tcp.c), so that a state that lasts grows, too. What
// took half of the busy time has limited the connection.
func limitedBy(before, now *socket.TCPInfo) Limit {
	is := func(f socket.Figure) int64 {
		value, _ := now.Value(f)
		return value
	}
	grew := func(f socket.Figure) int64 {
		value, _ := before.Value(f)
		return is(f) - value
	}
	busy := grew(socket.BusyTime)
	switch {
	case busy > 0 && grew(socket.RwndLimited) >= busy/2:
		return PeerWindow
	case busy > 0 && grew(socket.SndbufLimited) >= busy/2:
		return SendBuffer
	case is(socket.NotSentBytes) == 0:
		return NothingToSend
	case grew(socket.TotalRetrans) > 0 || is(socket.Lost) > 0:
		return Loss
	case is(socket.Unacked) >= is(socket.SndCwnd):
		return CongestionWindow
	}
	return Pacing
}

// Field is a number of a connection in the answer of the admin API, in seconds where it is a time.
type Field struct {
	Name string
	Of   func(*Open) (value float64, known bool) // not every kernel knows each
}

// Fields are all of them: those of TCP_INFO by the names and in the units of the placeholders, and
// others.
var Fields = fields()

func fields() []Field {
	all := slices.Grow([]Field{
		{"last_data_recv", func(o *Open) (float64, bool) { return o.Duration(socket.LastDataRecv).Seconds(), true }},
		{"last_data_sent", func(o *Open) (float64, bool) { return o.Duration(socket.LastDataSent).Seconds(), true }},
		{"recv_queued", func(o *Open) (float64, bool) { return float64(o.rest().RecvQueued), true }},
		{"recv_buffer", func(o *Open) (float64, bool) { return float64(o.rest().RecvBuffer), true }},
		{"send_queued", func(o *Open) (float64, bool) { return float64(o.rest().SendQueued), true }},
		{"send_buffer", func(o *Open) (float64, bool) { return float64(o.rest().SendBuffer), true }},
	}, len(socket.Figures))
	for _, f := range socket.Figures {
		all = append(all, Field{f.Name, func(o *Open) (float64, bool) { return o.figure(f) }})
	}
	return all
}

// figure returns a figure. Bytes are those of all subflows.
func (o *Open) figure(f socket.Figure) (value float64, known bool) {
	n, known := o.Value(f)
	switch {
	case f.Name == socket.BytesAcked.Name && o.rest().Multipath:
		n = o.rest().BytesAcked
	case f.Name == socket.BytesReceived.Name && o.rest().Multipath:
		n = o.rest().BytesReceived
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
	rest := o.rest()
	b, err := json.Marshal(struct {
		Place
		Local    netip.AddrPort `json:"local"`
		Peer     netip.AddrPort `json:"peer"`
		MPTCP    bool           `json:"mptcp"`
		Subflows int            `json:"subflows,omitempty"`

		Congestion string         `json:"congestion"`
		LimitedBy  Limit          `json:"limited_by"`
		QuickAck   socket.Learned `json:"quickack"`
	}{o.Place(), o.Local, o.Peer, rest.Multipath, rest.Subflows, rest.Congestion, o.LimitedBy, o.QuickAck})
	if err != nil {
		return nil, err
	}
	b = b[:len(b)-1]
	for _, f := range Fields {
		b = append(append(append(b, `,"`...), f.Name...), `":`...)
		if value, known := f.Of(o); known {
			b = strconv.AppendFloat(b, value, 'f', -1, 64)
		} else {
			b = append(b, "null"...)
		}
	}
	return append(b, '}'), nil
}
