package stats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	Local, Peer     netip.AddrPort
	LimitedBy       Limit
	QuickAck        socket.Learned
	Rank            float64 // those with more come first
	*socket.TCPInfo         // the second reading

	measured *socket.Measurement // nil before rest has read it
	conn     *socket.Conn
	of       *Counters // whose list has it
}

// between is the time between the two readings of a connection: the kernel's times only grow.
const between = 100 * time.Millisecond

// walking permits one walk at a time.
var walking = make(chan struct{}, 1)

// MeasureOpen measures the open connections of the origins that are wanted, and of those the ones whose peer is. It
// takes a bit more than 100 ms, or less where all of them are idle. With whole it reads all of each meanwhile.
//
// Errors: that of ctx.
func MeasureOpen(ctx context.Context, origin func(Origin) bool, peer func(netip.Addr) bool, whole bool) ([]*Open, error) {
	select {
	case walking <- struct{}{}:
		defer func() { <-walking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	began := time.Now()
	open := Each(ctx, openConns(origin, peer), (*Open).read)
	read := time.Now()
	if whole {
		open = Each(ctx, open, func(o *Open) bool { return o.rest() != nil })
	}
	if slices.ContainsFunc(open, (*Open).isBusy) {
		time.Sleep(max(between-time.Since(began), between/2-time.Since(read)))
	}
	return Each(ctx, open, (*Open).readAgain), ctx.Err()
}

// turn is for how long a walk goes on before it lets others run.
const turn = 5 * time.Millisecond

// Each does something with each connection until ctx is done, and returns those of which do says so.
// First and then after each turn it lets others run. It sleeps for that: after runtime.Gosched a
// processor with nothing else to do goes on without asking whether the network has something.
func Each(ctx context.Context, open []*Open, do func(*Open) bool) []*Open {
	var began time.Time
	return slices.DeleteFunc(open, func(o *Open) bool {
		if time.Since(began) > turn {
			time.Sleep(turn / 100)
			began = time.Now()
		}
		return ctx.Err() != nil || !do(o)
	})
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
			o := &Open{Local: addrPort(conn.LocalAddr()), Peer: addrPort(conn.RemoteAddr()), conn: conn, of: c}
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

// read is a reading. A connection that is closed meanwhile has none.
func (o *Open) read() bool {
	var err error
	o.TCPInfo, err = socket.Info(o.conn)
	if errors.Is(err, net.ErrClosed) { // through what it contains
		o.of.open.Remove(o.conn)
	}
	return err == nil
}

// isBusy says whether o had something to send at its first reading.
func (o *Open) isBusy() bool { return o.count(socket.Unacked) > 0 || o.count(socket.NotSentBytes) > 0 }

// readAgain is the second reading. Most connections are idle, and need none.
func (o *Open) readAgain() bool {
	o.QuickAck, o.LimitedBy = o.conn.Learned(), NothingToSend
	if !o.isBusy() {
		return true
	}
	before := o.progress()
	if !o.read() {
		return false
	}
	o.LimitedBy = o.limitedBy(o.progress().minus(before))
	return true
}

// rest is what takes calls of its own: few of many connections are shown.
func (o *Open) rest() *socket.Measurement {
	if o.measured == nil {
		o.measured = new(socket.Measure(o.conn))
	}
	return o.measured
}

// limitedBy says what limits o, which did this between its two readings. The kernel adds the time
// since a state began to its time when it is asked (tcp_get_info_chrono_stats in net/ipv4/tcp.c), so
// that a state that lasts grows, too. What took half of the busy time has limited the connection.
func (o *Open) limitedBy(did Progress) Limit {
	switch {
	case did.Busy > 0 && did.PeerWindow >= did.Busy/2:
		return PeerWindow
	case did.Busy > 0 && did.SendBuffer >= did.Busy/2:
		return SendBuffer
	case o.count(socket.NotSentBytes) == 0:
		return NothingToSend
	case did.Retransmitted > 0 || o.count(socket.Lost) > 0:
		return Loss
	case o.count(socket.Unacked) >= o.count(socket.SndCwnd):
		return CongestionWindow
	}
	return Pacing
}

// Field is a number of a connection in the answer of the admin API, in seconds where it is a time.
type Field struct {
	Name string
	Of   func(*Open) (value float64, known bool) // not every kernel knows each
}

// Fields are all of them: those of TCP_INFO by the names and in the units of the placeholders, and others.
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
func (o *Open) Place() Place { return o.of.origin.place() }

func (o Origin) place() Place { return Place{o.Direction, o.Server, o.Address, o.Upstream} }

// Compare orders connections by rank, and those of one rank by their places and peers.
func (o *Open) Compare(other *Open) int {
	byRank := -cmp.Compare(o.Rank, other.Rank)
	if byRank == 0 && o.of != other.of {
		byRank = o.Place().Compare(other.Place())
	}
	return cmp.Or(byRank, o.Peer.Compare(other.Peer))
}

// AppendJSON appends the fields in their order. What the kernel does not know is null.
func (o *Open) AppendJSON(b []byte) []byte {
	rest := o.rest()
	b = append(append(b, o.of.place[:len(o.of.place)-1]...), `,"local":"`...)
	b = append(o.Local.AppendTo(b), `","peer":"`...)
	b = fmt.Appendf(o.Peer.AppendTo(b), `","mptcp":%t`, rest.Multipath)
	if rest.Subflows > 0 {
		b = fmt.Appendf(b, `,"subflows":%d`, rest.Subflows)
	}
	b = fmt.Appendf(b, `,"congestion":%q,"limited_by":%q,"quickack":{"state":%q,"acknowledged":%d,"suspected_stalls":%d}`,
		rest.Congestion, o.LimitedBy, o.QuickAck.State, o.QuickAck.Acknowledged, o.QuickAck.Stalls)
	for _, f := range Fields {
		b = append(append(append(b, `,"`...), f.Name...), `":`...)
		switch value, known := f.Of(o); {
		case !known:
			b = append(b, "null"...)
		case value == float64(int64(value)): // most are, and this takes a fifth of the time
			b = strconv.AppendInt(b, int64(value), 10)
		default:
			b = strconv.AppendFloat(b, value, 'f', -1, 64)
		}
	}
	return append(b, '}')
}
