package sockopt

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// httpServer is Caddy's HTTP server with what we need of it. The methods work on a nil
// server, which stands for any other app with listeners.
type httpServer struct{ *caddyhttp.Server }

// serverOf returns the HTTP server whose module is provisioned.
func serverOf(ctx caddy.Context) httpServer {
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return httpServer{server}
}

// name returns the server's name in the configuration.
func (s httpServer) name() string {
	if s.Server == nil {
		return ""
	}
	return s.Name()
}

// listenConfig returns what Caddy opens the server's listeners with (App.Start in
// caddyhttp/app.go).
func (s httpServer) listenConfig() net.ListenConfig {
	return net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable:   s.KeepAliveInterval >= 0,
		Interval: time.Duration(s.KeepAliveInterval),
		Idle:     time.Duration(s.KeepAliveIdle),
		Count:    s.KeepAliveCount,
	}}
}

// adoptKeepAlive gives Go, which sets keepalive on each connection anyway, the values of
// settings. A server whose keepalive_interval is negative keeps Go's defaults. onListener says that the listening sockets are set to them, too: connections
// then inherit idle time and count, and Go must not set these.
func (s httpServer) adoptKeepAlive(settings []socket.Setting, onListener bool) {
	if s.Server == nil || s.KeepAliveInterval < 0 {
		return
	}
	const unchanged = -1 // net.KeepAliveConfig
	for _, setting := range settings {
		seconds := caddy.Duration(time.Duration(setting.Value.Number) * time.Second)
		switch o := setting.Option; {
		case o.Is(socket.KeepAliveInterval): // a negative one would switch keepalive off
			s.KeepAliveInterval = seconds
		case o.Is(socket.KeepAliveIdle) && onListener:
			s.KeepAliveIdle = unchanged
		case o.Is(socket.KeepAliveIdle):
			s.KeepAliveIdle = seconds
		case o.Is(socket.KeepAliveCount) && onListener:
			s.KeepAliveCount = unchanged
		case o.Is(socket.KeepAliveCount):
			s.KeepAliveCount = int(setting.Value.Number)
		}
	}
}

// wrappers returns the names of the server's listener wrappers, in their order.
func (s httpServer) wrappers() []string {
	if s.Server == nil {
		return nil
	}
	return wrapperNames(s.ListenerWrappersRaw)
}

func wrapperNames(wrappers []json.RawMessage) []string {
	names := make([]string, len(wrappers))
	for i, raw := range wrappers {
		var w struct {
			Wrapper string `json:"wrapper"`
		}
		if json.Unmarshal(raw, &w) == nil {
			names[i] = w.Wrapper
		}
	}
	return names
}

// wrapsPackets returns how many of the server's packet conn wrappers are sockopt.
func (s httpServer) wrapsPackets() int {
	if s.Server == nil {
		return 0
	}
	return count(wrapperNames(s.PacketConnWrappersRaw), wrapperName)
}

// lists returns how often a listener wrapper is listed.
func (s httpServer) lists(name string) int { return count(s.wrappers(), name) }

func count(names []string, name string) (n int) {
	for _, other := range names {
		if other == name {
			n++
		}
	}
	return n
}

// sharesListeners reports whether a listening socket of the server may be another
// configuration's, too: one that Caddy was given (fd/), or any where the kernel moves
// queued connections to another socket (net.ipv4.tcp_migrate_req). Outside an HTTP
// server this cannot be known, so assume shared. Systems other than Linux may share
// each socket.
func (s httpServer) sharesListeners() bool {
	if s.Server == nil || runtime.GOOS != "linux" || !slices.Contains([]string{"", "0"}, socket.Sysctl("net.ipv4.tcp_migrate_req")) {
		return true
	}
	return slices.ContainsFunc(s.Listen, func(address string) bool {
		parsed, err := caddy.ParseNetworkAddressWithDefaults(address, "tcp", caddyhttp.DefaultHTTPPort)
		return err != nil || parsed.IsFdNetwork()
	})
}

type servedKey struct{}

// servedBy returns the connection of a request. A request over HTTP/3 or over a
// Unix socket has none.
func servedBy(r *http.Request) (*served, bool) {
	s, ok := r.Context().Value(servedKey{}).(*served)
	return s, ok
}

// showConnections makes the server give its requests their connection.
func (s httpServer) showConnections() {
	if s.Server == nil {
		return
	}
	s.RegisterConnContext(func(ctx context.Context, conn net.Conn) context.Context {
		if ctx.Value(servedKey{}) != nil { // another handler registered it
			return ctx
		}
		tcp, ok := socket.TCPConn(conn)
		if !ok {
			return ctx
		}
		acking, _ := socket.AckingConn(conn)
		return context.WithValue(ctx, servedKey{}, &served{tcp: tcp, acking: acking})
	})
}

// restoring has the connections that restore their options when they are idle, as
// *served by net.Conn, until net/http closes them or hands them over.
var restoring sync.Map

// restoreWhenIdle makes the server restore the options of a connection that becomes
// idle. It cannot be sooner: net/http sends the end of a response after its handlers
// have returned.
func (s httpServer) restoreWhenIdle() {
	if s.Server == nil {
		return
	}
	s.RegisterConnContext(func(ctx context.Context, conn net.Conn) context.Context {
		if s, ok := ctx.Value(servedKey{}).(*served); ok && reflect.ValueOf(conn).Comparable() { // it is the key of a map
			restoring.Store(conn, s)
		}
		return ctx
	})
	s.RegisterConnState(func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew || state == http.StateActive || !reflect.ValueOf(conn).Comparable() {
			return
		}
		if s, ok := restoring.Load(conn); ok && state == http.StateIdle {
			s.(*served).restoreAll()
		}
		if state != http.StateIdle { // closed or hijacked: its last state
			restoring.Delete(conn)
		}
	})
}

// quicPlace is an address at which Caddy serves HTTP/3, as caddy.ListenerUsage knows it.
type quicPlace struct {
	network, address string
	before           bool // whether an earlier configuration has a socket there
}

func (p quicPlace) inUse() bool { return caddy.ListenerUsage(p.network, p.address) > 0 }

// quicPlaces returns the addresses of the server at which it may serve HTTP/3.
func (s httpServer) quicPlaces() (places []quicPlace) {
	if s.Server == nil {
		return nil
	}
	for _, listen := range s.Listen {
		parsed, err := caddy.ParseNetworkAddressWithDefaults(listen, "tcp", caddyhttp.DefaultHTTPSPort)
		if err != nil {
			continue
		}
		// networkTypesHTTP3 in modules/caddyhttp/server.go, ListenQUIC in listeners.go
		network := map[string]string{"tcp": "udp", "tcp4": "udp4", "tcp6": "udp6"}[parsed.Network]
		if network == "" {
			network = parsed.Network
		}
		for _, one := range parsed.Expand() {
			place := quicPlace{network: "quic" + network, address: one.JoinHostPort(0)}
			place.before = place.inUse()
			places = append(places, place)
		}
	}
	return places
}
