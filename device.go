package sockopt

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	_ "unsafe" // for go:linkname

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

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

// Of two wildcard addresses with SO_REUSEPORT, one on a device and one on all, the kernel takes the socket that was
// opened first (inet_lhash2_lookup in net/ipv4/inet_hashtables.c, udp6_lib_lookup2 in net/ipv6/udp.c), and Caddy starts
// servers in no order. So before Caddy opens the first socket of a configuration, all those on devices are opened.

// networkTypes has the networks of Caddy by name. It calls one before it opens a socket
// by itself, also for tcp and others, which RegisterNetwork does not take.
//
//go:linkname networkTypes github.com/caddyserver/caddy/v2.networkTypes
var networkTypes map[string]caddy.ListenerFunc

// beforeSocket is what Caddy calls before it opens a socket: then it opens that, too.
func beforeSocket(ctx context.Context, _, _, _ string, _ uint, _ net.ListenConfig) (any, error) {
	if config, ok := ctx.(caddy.Context); ok {
		configurationOf(config).start(config)
	}
	return nil, nil
}

// openDevices opens the sockets that HTTP servers of a configuration have on devices.
func (c *configuration) openDevices() {
	for _, of := range c.http.Servers {
		s := c.server(of)
		for _, o := range s.opens() {
			if o.address.Network != interfaceNetwork.name || o.transport == "udp" && quicPlaceOf(o.address).inUse() { // by an earlier configuration, whose socket stays
				continue
			}
			// The context is of no configuration, for beforeSocket.
			opened, err := interfaceNetwork.open(context.Background(), o.transport, o.address, s.listenConfig())
			if err == nil { // or the server will say so
				c.first.Store(o.transport+o.address.String(), opened)
			}
		}
	}
}

// warnOfOlder warns of HTTP/3 on a device where an earlier configuration has it on all
// devices: Caddy keeps that socket, which is the first.
func warnOfOlder(address caddy.NetworkAddress, log *zap.Logger) {
	for _, all := range []string{"", "::", "0.0.0.0"} {
		address.Network, address.Host = "tcp", all
		if quicPlaceOf(address).inUse() {
			log.Warn("HTTP/3 on this network interface goes to the site on all interfaces until Caddy is restarted, since that was first")
		}
	}
}
