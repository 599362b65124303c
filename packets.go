package sockopt

import (
	"cmp"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// packetSockets are the UDP sockets that wrappers of this process have wrapped.
var packetSockets packetSocketList

type packetSocketList struct {
	mu  sync.Mutex
	all []*packetSocket
}

// packetUser is what a configuration wants of the UDP sockets at some places.
type packetUser struct {
	server   string // its name
	places   []quicPlace
	resolved options.Resolved
	log      *zap.Logger
}

// packetSocket is a UDP socket with the options of its latest user.
type packetSocket struct {
	conn  *packetConn
	place quicPlace
	users []*packetUser // the latest is last
	set   []socket.Setting
	base  []socket.Setting // what options were before they were set, the latest last
}

// open adds a socket that Caddy has opened for u.
func (l *packetSocketList) open(u *packetUser, udp *net.UDPConn) *packetConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropClosed()
	s := &packetSocket{conn: &packetConn{UDPConn: udp}, place: l.opening(u), users: []*packetUser{u}}
	l.all = append(l.all, s)
	s.update(u.log)
	return s.conn
}

// opening returns the place whose socket Caddy is opening: it is in use, and its socket
// is not known yet. One that was in use when u was provisioned has probably a socket that
// nobody has wrapped.
func (l *packetSocketList) opening(u *packetUser) (place quicPlace) {
	for _, before := range []bool{false, true} {
		for _, p := range u.places {
			if p.before == before && p.inUse() && l.at(p) == nil {
				return p
			}
		}
	}
	return place
}

// at returns the socket at a place.
func (l *packetSocketList) at(p quicPlace) *packetSocket {
	for _, s := range l.all {
		if s.place.network == p.network && s.place.address == p.address {
			return s
		}
	}
	return nil
}

// use sets the options of u, whose configuration has started, on the sockets that exist.
func (l *packetSocketList) use(u *packetUser) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropClosed()
	for _, p := range u.places {
		s := l.at(p)
		switch {
		case s != nil && !slices.Contains(s.users, u):
			s.users = append(s.users, u)
			s.update(u.log)
		case s == nil && p.inUse():
			u.log.Warn("sockopt has no effect on a UDP socket that was opened without it; restart Caddy",
				zap.String("server", u.server), zap.String("address", p.address))
		}
	}
}

// release ends the use of sockets by u. Those of a process that ends stay as they are.
func (l *packetSocketList) release(u *packetUser) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropClosed()
	for _, s := range l.all {
		if i := slices.Index(s.users, u); i >= 0 {
			s.users = slices.Delete(s.users, i, i+1)
			if !caddy.Exiting() {
				s.update(u.log)
			}
		}
	}
}

// dropClosed drops the sockets that Caddy has closed.
func (l *packetSocketList) dropClosed() {
	l.all = slices.DeleteFunc(l.all, func(s *packetSocket) bool {
		raw, err := s.conn.SyscallConn()
		return err != nil || errors.Is(raw.Control(func(uintptr) {}), net.ErrClosed)
	})
}

// user is whose options the socket has, if anybody's.
func (s *packetSocket) user() *packetUser {
	if len(s.users) == 0 {
		return nil
	}
	return s.users[len(s.users)-1]
}

// update sets the options of the socket's user, and restores those that it has not.
func (s *packetSocket) update(log *zap.Logger) {
	var next []socket.Setting
	if u := s.user(); u != nil {
		next = u.resolved.Settings[options.Packet]
	}
	if slices.EqualFunc(s.set, next, same) {
		return
	}
	s.restore(next, log)
	var class socket.Value
	for _, setting := range next {
		s.save(setting.Option)
		if isBuffer(setting.Option) {
			setting.Value = socket.AsQUIC(setting.Value)
		}
		s.put(setting, log)
		if setting.Option.Is(socket.TrafficClass) {
			class = setting.Value
		}
	}
	s.conn.class.Store(uint32(class.Number)) //nolint:gosec // a byte
	s.set = next
}

// restore restores the options that next has not, the latest first. IP_TOS sets the
// priority, too (ip(7)): when it changes, the priority is derived anew.
func (s *packetSocket) restore(next []socket.Setting, log *zap.Logger) {
	class := func(settings []socket.Setting) int { return indexOf(settings, socket.TrafficClass) }
	old, now := class(s.set), class(next)
	derive := (old < 0) != (now < 0) || old >= 0 && !same(s.set[old], next[now])
	for _, setting := range slices.Backward(s.set) {
		o := setting.Option
		derived := derive && (o.Is(socket.TrafficClass) || o.Is(socket.Priority))
		if indexOf(next, o) >= 0 && !derived {
			continue
		}
		i := indexOf(s.base, o)
		if i < 0 {
			log.Warn("a socket option stays set until Caddy is restarted, because its value before cannot be read",
				zap.String("option", options.NameOf(o.Name)), zap.Stringer("address", s.conn.LocalAddr()))
			continue
		}
		s.put(socket.Setting{Option: o, Value: s.base[i].Value}, log)
		s.base = slices.Delete(s.base, i, i+1)
	}
}

// save keeps the value that an option has before it is set for the first time. That of a
// buffer is what quic-go would have made of it.
func (s *packetSocket) save(o socket.Option) {
	if indexOf(s.base, o) >= 0 || indexOf(s.set, o) >= 0 && !o.Is(socket.TrafficClass) && !o.Is(socket.Priority) {
		return
	}
	value, err := socket.Get(s.conn.UDPConn, o)
	if err != nil {
		return
	}
	value = o.AsSet(value)
	if isBuffer(o) {
		value = socket.AsQUIC(value)
	}
	s.base = append(s.base, socket.Setting{Option: o, Value: value})
}

func (s *packetSocket) put(setting socket.Setting, log *zap.Logger) {
	refused, err := socket.Set(s.conn.UDPConn, []socket.Setting{setting})
	for _, r := range refused {
		err = r.Err
	}
	if err != nil {
		log.Error("option refused by the UDP socket", zap.String("option", options.NameOf(setting.Option.Name)),
			zap.Stringer("address", s.conn.LocalAddr()), zap.Error(err))
	}
}

func indexOf(settings []socket.Setting, o socket.Option) int {
	return slices.IndexFunc(settings, func(s socket.Setting) bool { return s.Option.Is(o) })
}

func same(a, b socket.Setting) bool { return a.Option.Is(b.Option) && a.Value == b.Value }

func isBuffer(o socket.Option) bool { return o.Is(socket.RecvBuffer) || o.Is(socket.SendBuffer) }

// packetStatus is a UDP socket as the admin API shows it.
type packetStatus struct {
	Server  string           `json:"server"`
	Address string           `json:"address"`
	Metrics bool             `json:"metrics"`
	Options []options.Effect `json:"options"`

	// What getsockopt(2) reads of the buffers, which is double what was set.
	RecvBuffer int64 `json:"recv_buffer"`
	SendBuffer int64 `json:"send_buffer"`

	// Datagrams that the kernel dropped, since the socket exists.
	Dropped uint32 `json:"dropped_datagrams"`
}

// now returns the sockets that have a user, by server and address.
func (l *packetSocketList) now() []packetStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropClosed()
	now := []packetStatus{}
	for _, s := range l.all {
		u := s.user()
		if u == nil {
			continue
		}
		status := packetStatus{
			Server:  u.server,
			Address: s.conn.LocalAddr().String(),
			Metrics: u.resolved.Metrics,
			Options: u.resolved.Live(options.Packet, s.conn.UDPConn),
		}
		// What cannot be read stays 0: that is so on systems other than Linux.
		recv, _ := socket.Get(s.conn.UDPConn, socket.RecvBuffer)
		send, _ := socket.Get(s.conn.UDPConn, socket.SendBuffer)
		status.RecvBuffer, status.SendBuffer = recv.Number, send.Number
		status.Dropped, _ = socket.Dropped(s.conn.UDPConn)
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
			all = append(all, stats.Datagrams{Server: s.Server, Address: s.Address, Dropped: s.Dropped})
		}
	}
	return all
}

// packetConn is a UDP socket that puts a code point into what it sends.
type packetConn struct {
	*net.UDPConn
	class atomic.Uint32 // the traffic class, without ECN
}

// WriteMsgUDP sends a packet. quic-go adds a control message with the ECN bits, which
// for the kernel are the whole traffic class: the code point has to be in it, too.
func (c *packetConn) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if class := c.class.Load(); class != 0 {
		socket.AddTrafficClass(oob, byte(class)) //nolint:gosec // a code point and two bits
	}
	return c.UDPConn.WriteMsgUDP(b, oob, addr)
}
