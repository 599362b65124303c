package sockopt

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// packetSockets are the UDP sockets that wrappers of this process have wrapped.
var packetSockets packetSocketList

type packetSocketList struct {
	mu  sync.Mutex
	all []*packetSocket
}

// lock locks the list, and drops the sockets that Caddy has closed.
func (l *packetSocketList) lock() {
	l.mu.Lock()
	l.all = slices.DeleteFunc(l.all, func(s *packetSocket) bool {
		raw, err := s.SyscallConn()
		return err != nil || errors.Is(raw.Control(func(uintptr) {}), net.ErrClosed)
	})
}

// packetUser is what a configuration wants of the UDP sockets at some places.
type packetUser struct {
	server   string // its name
	places   []quicPlace
	resolved options.Resolved
	log      *zap.Logger // with the server
}

// hold returns the options with what quic-go makes of buffers.
func (u *packetUser) hold() *socket.Hold {
	h := &socket.Hold{Overrides: slices.Clone(u.resolved.Overrides)}
	for i := range h.Overrides {
		v := &h.Overrides[i]
		v.Observer = u
		if quic := socket.AsQUIC(v.Value); quic != v.Value && (v.Option.Is(socket.RecvBuffer) || v.Option.Is(socket.SendBuffer)) {
			v.Value, v.Effective = quic, socket.Value{Number: 2 * quic.Number} // the kernel doubles it
		}
	}
	return h
}

// Refused implements socket.RefusalObserver.
func (u *packetUser) Refused(c net.Conn, option socket.Option, err error) {
	log := u.log.With(options.Named(option), zap.Stringer("address", c.LocalAddr()))
	if errors.Is(err, socket.ErrStaysSet) {
		log.Warn("a socket option stays set until Caddy is restarted, because its value before cannot be read")
		return
	}
	log.Error("option refused by the UDP socket", zap.Error(err))
}

// packetSocket is a UDP socket with the options of its first user. It puts the code point into what it sends.
type packetSocket struct {
	*net.UDPConn
	place quicPlace
	users []*packetUser // whose options it has is first; those that are to replace them follow

	overrides *socket.Overrides
	class     atomic.Uint32 // the traffic class, without ECN
}

// WriteMsgUDP sends a packet. quic-go adds a control message with the ECN bits, which
// for the kernel are the whole traffic class: the code point has to be in it, too.
func (s *packetSocket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if class := s.class.Load(); class != 0 {
		socket.AddTrafficClass(oob, byte(class)) //nolint:gosec // a code point and two bits
	}
	return s.UDPConn.WriteMsgUDP(b, oob, addr)
}

// open adds a socket that Caddy has opened for u. What options restore its buffers to is
// what quic-go would make of them in a moment.
func (l *packetSocketList) open(u *packetUser, udp *net.UDPConn) *packetSocket {
	socket.RaiseLikeQUIC(udp)
	l.lock()
	defer l.mu.Unlock()
	s := &packetSocket{UDPConn: udp, place: l.opening(u), users: []*packetUser{u}, overrides: socket.NewOverrides(udp)}
	l.all = append(l.all, s)
	s.update(u.log)
	return s
}

// opening returns the place whose socket Caddy is opening: it is in use, and its socket is not known yet. One that
// was in use when u was provisioned has probably a socket that nobody has wrapped.
func (l *packetSocketList) opening(u *packetUser) (place quicPlace) {
	for _, p := range u.places {
		if (place == quicPlace{} || place.before) && p.inUse() && l.at(p) == nil {
			place = p
		}
	}
	return place
}

// at returns the socket at a place.
func (l *packetSocketList) at(p quicPlace) *packetSocket {
	i := slices.IndexFunc(l.all, func(s *packetSocket) bool { return s.place.network == p.network && s.place.address == p.address })
	if i < 0 {
		return nil
	}
	return l.all[i]
}

// use sets the options of u on the sockets that exist, once nobody used them before: a load may still fail.
func (l *packetSocketList) use(u *packetUser) {
	l.lock()
	defer l.mu.Unlock()
	for _, p := range u.places {
		s := l.at(p)
		switch {
		case s != nil && !slices.Contains(s.users, u):
			s.users = append(s.users, u)
			if len(s.users) == 1 {
				s.update(u.log)
			}
		case s == nil && p.before:
			u.log.Warn("sockopt has no effect on a UDP socket that was opened without it; restart Caddy",
				zap.String("address", p.address))
		}
	}
}

// release ends the use of sockets by u. Those of a process that ends stay as they are.
func (l *packetSocketList) release(u *packetUser) {
	l.lock()
	defer l.mu.Unlock()
	for _, s := range l.all {
		if i := slices.Index(s.users, u); i >= 0 {
			s.users = slices.Delete(s.users, i, i+1)
			if i == 0 && !caddy.Exiting() {
				s.update(u.log)
			}
		}
	}
}

// update sets the options of the socket's user, and restores others. Without one it uses another's log.
func (s *packetSocket) update(log *zap.Logger) {
	s.overrides.Holds = nil
	if len(s.users) > 0 {
		s.overrides.Holds, log = []*socket.Hold{s.users[0].hold()}, s.users[0].log
	}
	s.overrides.Retry()
	s.overrides.Update()
	class, _ := socket.Get(s, socket.TrafficClass) // 0 where there is none
	s.class.Store(uint32(class.Number))            //nolint:gosec // a byte
	boundSockets.follow(s.UDPConn, log.With(zap.Stringer("address", s.LocalAddr())))
}
