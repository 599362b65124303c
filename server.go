package sockopt

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/connection"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// wrapperName is the name of both wrappers in a configuration.
const wrapperName = "sockopt"

// server is what we know of one HTTP server of a configuration.
type server struct {
	*caddyhttp.Server
	configuration *configuration
	otherApp      bool // there is no such server: listeners and dialers of other apps

	wraps, wrapsPackets bool // it has our wrappers

	shows, restores sync.Once       // install hooks
	routeOptions    map[string]bool // that its routes set, by the kernel's names

	// What GET /sockopt/ shows, guarded by configurations.
	entries []*entry
	nth     map[stats.Origin]int // how many there were of an origin
}

// serverOf returns the record of the server whose module is provisioned, and the module's
// logger with the server and its addresses.
func serverOf(ctx caddy.Context) (*server, *zap.Logger) {
	c := configurationOf(ctx)
	for _, module := range ctx.Modules() {
		if app, ok := module.(*caddyhttp.App); ok {
			c.http = app
		}
	}
	of, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	s := c.server(of)
	return s, ctx.Logger().With(zap.String("server", s.Name()), zap.String("address", strings.Join(s.Listen, ", ")))
}

// server returns the record of a server of the configuration. nil stands for other apps.
func (c *configuration) server(of *caddyhttp.Server) *server {
	configurations.Lock() // servers are made while a configuration runs, too: for listeners of other apps
	defer configurations.Unlock()
	s, ok := c.servers[of]
	if !ok {
		s = &server{
			Server: cmp.Or(of, new(caddyhttp.Server)), configuration: c, otherApp: of == nil,
			routeOptions: make(map[string]bool), nth: make(map[stats.Origin]int),
		}
		c.servers[of] = s
	}
	return s
}

// listenConfig returns what Caddy opens the server's listeners with (App.Start in caddyhttp/app.go).
func (s *server) listenConfig() net.ListenConfig {
	return net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable:   s.KeepAliveInterval >= 0,
		Interval: time.Duration(s.KeepAliveInterval),
		Idle:     time.Duration(s.KeepAliveIdle),
		Count:    s.KeepAliveCount,
	}}
}

// adoptKeepAlive gives Go, which sets keepalive on each connection anyway, the values of settings. A server whose
// keepalive_interval is negative keeps Go's defaults. onListener says that the listening sockets are set to them,
// too: connections then inherit idle time and count, and Go must not set these.
func (s *server) adoptKeepAlive(settings []socket.Setting, onListener bool) {
	if s.KeepAliveInterval < 0 {
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

// wrapperJSON is a listener wrapper or packet conn wrapper in the configuration of a server, as
// far as others look at it.
type wrapperJSON struct {
	Name      string          `json:"wrapper"`
	Multipath json.RawMessage `json:"multipath"`
	DSCP      json.RawMessage `json:"dscp"`
}

func wrappersOf(raw []json.RawMessage) []wrapperJSON {
	wrappers := make([]wrapperJSON, len(raw))
	for i := range raw {
		_ = json.Unmarshal(raw[i], &wrappers[i]) // its errors are Caddy's to report
	}
	return wrappers
}

// listedTwice is the error of a second sockopt among wrappers of the server.
func (s *server) listedTwice(kind string) error {
	return fmt.Errorf("sockopt is listed twice among the %s wrappers of server %s; put all options into one of them", kind, s.Name())
}

// sharesListeners reports whether a listening socket of the server may be another configuration's, too: one that Caddy
// was given (fd/), or any where the kernel moves queued connections to another socket (net.ipv4.tcp_migrate_req).
// Outside an HTTP server this cannot be known, so assume shared. Systems other than Linux may share each socket.
func (s *server) sharesListeners() bool {
	if s.otherApp || runtime.GOOS != "linux" || !slices.Contains([]string{"", "0"}, socket.Sysctl("net.ipv4.tcp_migrate_req")) {
		return true
	}
	return s.listensOn("fd", "fdgram")
}

// listensOn reports whether the server listens on one of these networks.
func (s *server) listensOn(networks ...string) bool {
	return slices.ContainsFunc(s.Listen, func(address string) bool {
		name, _, _, _ := caddy.SplitNetworkAddress(address) // its errors are Caddy's to report
		return slices.Contains(networks, name)
	})
}

// showConnections makes the server give its requests their connection.
func (s *server) showConnections() { s.shows.Do(func() { s.RegisterConnContext(connection.Show) }) }

// restoreWhenIdle makes the server restore the options that its routes set.
func (s *server) restoreWhenIdle() {
	s.showConnections()
	s.restores.Do(func() {
		s.RegisterConnContext(connection.Restore)
		s.RegisterConnState(connection.RestoreWhenIdle)
	})
}

// opening is a socket that a server opens.
type opening struct {
	transport string // tcp, or udp for HTTP/3
	address   caddy.NetworkAddress
}

// opens returns the sockets that the server opens (App.Start in caddyhttp/app.go).
func (s *server) opens() (all []opening) {
	httpPort := caddyhttp.DefaultHTTPPort
	if app := s.configuration.http; app != nil {
		httpPort = cmp.Or(app.HTTPPort, httpPort)
	}
	for i, listen := range s.Listen {
		address, err := caddy.ParseNetworkAddress(listen)
		if err != nil {
			continue // which is Caddy's to report
		}
		protocols := s.Protocols
		if s.ListenProtocols != nil && s.ListenProtocols[i] != nil {
			protocols = s.ListenProtocols[i]
		}
		for _, one := range address.Expand() {
			tls := len(s.TLSConnPolicies) > 0 && int(one.StartPort) != httpPort //nolint:gosec // a port
			if slices.Contains(protocols, "h1") || slices.Contains(protocols, "h2c") || tls && slices.Contains(protocols, "h2") {
				all = append(all, opening{"tcp", one})
			}
			if tls && slices.Contains(protocols, "h3") && !one.IsUnixNetwork() {
				all = append(all, opening{"udp", one})
			}
		}
	}
	return all
}

// quicPlace is an address at which Caddy serves HTTP/3, as caddy.ListenerUsage knows it.
type quicPlace struct {
	network, address string
	before           bool // whether an earlier configuration has a socket there
}

func quicPlaceOf(address caddy.NetworkAddress) quicPlace {
	return quicPlace{network: "quic" + networkTypesHTTP3[address.Network], address: address.JoinHostPort(0)}
}

func (p quicPlace) inUse() bool { return caddy.ListenerUsage(p.network, p.address) > 0 }

// quicPlaces returns the addresses at which the server serves HTTP/3.
func (s *server) quicPlaces() (places []quicPlace) {
	for _, o := range s.opens() {
		if o.transport == "udp" {
			place := quicPlaceOf(o.address)
			place.before = place.inUse()
			places = append(places, place)
		}
	}
	return places
}
