package sockopt

import (
	"net"
	"reflect"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// PacketConnWrapper sets socket options on the UDP sockets of HTTP/3.
//
// A UDP socket survives a reload. The next configuration sets its options on the socket that exists, and what it no
// longer has returns to what it was before. A wrapper that a reload adds has an effect after a restart, which is
// logged: Caddy wraps a socket when it opens it. Unix sockets are left untouched. A server takes one sockopt.
//
// It is listed before the wrappers of other plugins: behind one it cannot reach the socket, which is logged.
//
// JSON:
//
//	{"wrapper": "sockopt", "recv_buffer": 8388608, "metrics": true}
//
// Caddyfile, inside packet_conn_wrappers:
//
//	sockopt {
//		recv_buffer 8MiB
//		metrics
//	}
type PacketConnWrapper struct {
	options.Options

	user *packetUser
}

// CaddyModule returns the Caddy module information.
func (PacketConnWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.packetconns.sockopt", New: func() caddy.Module { return new(PacketConnWrapper) }}
}

// UnmarshalJSON reads the options of a UDP socket.
func (w *PacketConnWrapper) UnmarshalJSON(b []byte) error { return w.Unmarshal(b, options.Packet) }

// Provision tries the options on this kernel.
func (w *PacketConnWrapper) Provision(ctx caddy.Context) error {
	server, log := serverOf(ctx)
	if server.wrapsPackets {
		return server.listedTwice("packet conn")
	}
	resolved, err := w.Resolve(options.Packet, log)
	if err != nil {
		return err
	}
	server.wrapsPackets = true
	server.configuration.used.Store(true)
	w.user = &packetUser{server.Name(), server.quicPlaces(), resolved, ctx.Logger().With(zap.String("server", server.Name()))}
	packetSockets.use(w.user)
	return stats.RegisterDatagrams(ctx.GetMetricsRegistry(), packetSockets.dropped)
}

// WrapPacketConn sets the options on the UDP socket in conn. It returns what quic-go needs to send several packets in
// one system call, with ECN: the methods of a *net.UDPConn.
func (w *PacketConnWrapper) WrapPacketConn(conn net.PacketConn) net.PacketConn {
	conn = withoutCaddy(conn)
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		if !caddy.IsUnixNetwork(conn.LocalAddr().Network()) {
			w.user.log.Error("cannot reach the UDP socket behind another packet conn wrapper; list sockopt first",
				zap.Stringer("address", conn.LocalAddr()), zap.Stringer("wrapper", reflect.TypeOf(conn)))
		}
		return conn
	}
	return packetSockets.open(w.user, udp)
}

// Cleanup gives up the sockets: the configuration has failed to load, or another has replaced it.
func (w *PacketConnWrapper) Cleanup() error {
	packetSockets.release(w.user)
	return nil
}

// withoutCaddy returns what Caddy's own wrapping has inside. Caddy removes it by itself
// where there is no packet conn wrapper (ListenQUIC).
func withoutCaddy(conn net.PacketConn) net.PacketConn {
	for {
		wrapper, ok := conn.(interface{ Unwrap() net.PacketConn })
		if !ok || typeOf(conn).PkgPath() != caddyPackage {
			return conn
		}
		conn = wrapper.Unwrap()
	}
}
