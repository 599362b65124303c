package sockopt

import (
	"context"
	"net"
	"reflect"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// PacketConnWrapper sets socket options on the UDP sockets of HTTP/3.
//
// A UDP socket survives a reload. The next configuration sets its options on the socket
// that exists, and what it no longer has returns to what it was before. A wrapper that a
// reload adds has an effect after a restart, which is logged: Caddy wraps a socket when
// it opens it. Unix sockets are left untouched. A server takes one sockopt.
//
// It is listed before the wrappers of other plugins: behind one it cannot reach the
// socket, which is logged.
type PacketConnWrapper struct {
	options.Options

	resolved options.Resolved
	log      *zap.Logger
	server   *server
	places   []quicPlace
}

// CaddyModule returns the Caddy module information.
func (PacketConnWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.packetconns.sockopt",
		New: func() caddy.Module { return new(PacketConnWrapper) },
	}
}

// UnmarshalJSON reads the options of a UDP socket.
func (w *PacketConnWrapper) UnmarshalJSON(b []byte) error { return w.Unmarshal(b, options.Packet) }

// Provision tries the options on this kernel.
func (w *PacketConnWrapper) Provision(ctx caddy.Context) (err error) {
	w.log = ctx.Logger()
	w.server = serverOf(ctx)
	if err = w.server.listedOnce("packet conn", w.server.PacketConnWrappersRaw); err != nil {
		return err
	}
	if w.resolved, err = w.Resolve(options.Packet, w.log); err != nil {
		return err
	}
	w.places = w.server.quicPlaces()
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	// Sockets that exist are changed when the load has succeeded, and changed back before
	// the connections of an old configuration have ended.
	for name, do := range map[string]func(*PacketConnWrapper){"started": packetSockets.use, "stopping": packetSockets.release} {
		if err := events.(*caddyevents.App).On(name, eventHandler(func() { do(w) })); err != nil { //nolint:forcetypeassert // that is its module
			return err
		}
	}
	return stats.RegisterDatagrams(ctx.GetMetricsRegistry(), packetSockets.dropped)
}

type eventHandler func()

// Handle implements caddyevents.Handler.
func (h eventHandler) Handle(context.Context, caddy.Event) error {
	h()
	return nil
}

// WrapPacketConn sets the options on the UDP socket in conn. It returns what quic-go
// needs to send several packets in one system call, with ECN: the methods of a
// *net.UDPConn.
func (w *PacketConnWrapper) WrapPacketConn(conn net.PacketConn) net.PacketConn {
	conn = withoutCaddy(conn)
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		if !caddy.IsUnixNetwork(conn.LocalAddr().Network()) {
			w.log.Error("cannot reach the UDP socket behind another packet conn wrapper; list sockopt first",
				zap.Stringer("address", conn.LocalAddr()), zap.Stringer("wrapper", reflect.TypeOf(conn)))
		}
		return conn
	}
	return packetSockets.open(w, udp)
}

// Cleanup gives up what an event did not: that of a configuration that did not start.
func (w *PacketConnWrapper) Cleanup() error {
	packetSockets.release(w)
	return nil
}

// withoutCaddy returns what Caddy's own wrapping has inside. Caddy removes it by itself
// where there is no packet conn wrapper (ListenQUIC).
func withoutCaddy(conn net.PacketConn) net.PacketConn {
	for {
		wrapper, ok := conn.(interface{ Unwrap() net.PacketConn })
		if !ok || packageOf(conn) != caddyPackage {
			return conn
		}
		conn = wrapper.Unwrap()
	}
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
