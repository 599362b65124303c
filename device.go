package sockopt

import (
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"

	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// boundSockets are the sockets that are bound to a network device. The kernel binds to the
// index of a device: one that is deleted and made again has another, and the socket
// receives nothing. So each load looks, and the look of each minute, and binds it anew.
var boundSockets = boundSocketList{all: make(map[syscall.Conn]*boundSocket)}

type boundSocketList struct {
	mu  sync.Mutex
	all map[syscall.Conn]*boundSocket
}

type boundSocket struct {
	socket syscall.Conn
	device string
	log    *zap.Logger
	said   error // what was logged
}

// follow looks after a socket if it is bound to a device, and no longer if it is not. One whose
// device does not exist keeps it.
func (l *boundSocketList) follow(s syscall.Conn, log *zap.Logger) {
	l.mu.Lock()
	if now, err := socket.Get(s, socket.Interface); err == nil {
		delete(l.all, s)
		if now.Text != "" {
			l.all[s] = &boundSocket{socket: s, device: now.Text, log: log}
		}
	}
	l.mu.Unlock()
	l.look()
}

// look looks at all.
func (l *boundSocketList) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.all, func(_ syscall.Conn, s *boundSocket) bool { return errors.Is(s.look(), net.ErrClosed) })
}

// look binds the socket anew where it is no longer bound to its device. Its error is logged once.
func (s *boundSocket) look() error {
	now, err := socket.Get(s.socket, socket.Interface)
	if errors.Is(err, net.ErrClosed) || err == nil && now.Text == s.device {
		return err
	}
	refused, err := socket.Set(s.socket, []socket.Setting{{Option: socket.Interface, Value: socket.Value{Text: s.device}}})
	for _, r := range refused {
		err = r.Err
	}
	log := s.log.With(zap.String("interface", s.device))
	again := s.said != nil && err != nil && s.said.Error() == err.Error()
	s.said = err
	switch {
	case again || errors.Is(err, net.ErrClosed):
	case err == nil:
		log.Info("the network interface is back; the socket is bound to it again")
	case errors.Is(err, syscall.ENODEV):
		log.Warn("the network interface does not exist any more; the socket receives nothing until it is back")
	case errors.Is(err, syscall.EPERM):
		log.Error("the network interface is back, and binding a socket to it again needs CAP_NET_RAW; reload with --force, for HTTP/3 restart Caddy")
	default:
		log.Error("cannot bind the socket to the network interface again", zap.Error(err))
	}
	return err
}

// withDevice returns effects with the device to which a socket is bound now.
func withDevice(effects []options.Effect, s syscall.Conn) []options.Effect {
	i := slices.IndexFunc(effects, func(e options.Effect) bool { return e.Option == "interface" && e.LeftOut == "" })
	if i < 0 {
		return effects
	}
	now, err := socket.Get(s, socket.Interface)
	effects = slices.Clone(effects)
	effects[i].Effective = now.Text
	if errors.Is(err, syscall.ENODEV) {
		effects[i].NoEffect = "the interface does not exist any more; the socket receives nothing"
	}
	return effects
}
