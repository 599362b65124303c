package sockopt

import (
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// boundSockets are the sockets that are bound to a network device. The kernel binds to the
// index of a device: one that is deleted and made again has another, and the socket
// receives nothing. So each load looks, and each minute, and binds it anew.
var boundSockets boundSocketList

type boundSocketList struct {
	mu      sync.Mutex
	all     []*boundSocket
	looking bool // again and again
}

type boundSocket struct {
	socket syscall.Conn
	device string
	log    *zap.Logger
	said   error // what was logged
}

// betweenLooks is how long a device that is back may have no socket.
const betweenLooks = time.Minute

// follow looks after a socket that settings bind to a device, or no longer after one that
// they do not.
func (l *boundSocketList) follow(s syscall.Conn, settings []socket.Setting, log *zap.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = slices.DeleteFunc(l.all, func(b *boundSocket) bool { return b.socket == s })
	if i := indexOf(settings, socket.Interface); i >= 0 && settings[i].Value.Text != "" {
		l.all = append(l.all, &boundSocket{socket: s, device: settings[i].Value.Text, log: log})
	}
	l.lookAtAll()
	if !l.looking && len(l.all) > 0 {
		l.looking = true
		time.AfterFunc(betweenLooks, l.lookAgain)
	}
}

// followAsBound is follow for a socket that may be bound to a device by others than
// settings: by its network.
func (l *boundSocketList) followAsBound(s syscall.Conn, settings []socket.Setting, log *zap.Logger) {
	if now, err := socket.Get(s, socket.Interface); indexOf(settings, socket.Interface) < 0 && err == nil {
		settings = []socket.Setting{{Option: socket.Interface, Value: now}}
	}
	l.follow(s, settings, log)
}

func indexOf(settings []socket.Setting, o socket.Option) int {
	return slices.IndexFunc(settings, func(s socket.Setting) bool { return s.Option.Is(o) })
}

// lookAgain looks each minute while there are sockets.
func (l *boundSocketList) lookAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lookAtAll()
	if l.looking = len(l.all) > 0; l.looking {
		time.AfterFunc(betweenLooks, l.lookAgain)
	}
}

func (l *boundSocketList) lookAtAll() {
	l.all = slices.DeleteFunc(l.all, func(s *boundSocket) bool { return errors.Is(s.look(), net.ErrClosed) })
}

// look binds the socket anew where it is no longer bound to its device. Its error is
// logged once.
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
