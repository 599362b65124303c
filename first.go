package sockopt

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	_ "unsafe" // for go:linkname

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Of two wildcard addresses with SO_REUSEPORT, one on a device and one on all, the kernel
// takes the socket that was opened first (inet_lhash2_lookup in net/ipv4/inet_hashtables.c,
// udp6_lib_lookup2 in net/ipv6/udp.c), and Caddy starts servers in no order. So before
// Caddy opens a socket, those on devices at the same port are opened.

// networkTypes has the networks of Caddy by name. It calls one before it opens a socket
// by itself, also for tcp and udp, which RegisterNetwork does not take.
//
//go:linkname networkTypes github.com/caddyserver/caddy/v2.networkTypes
var networkTypes map[string]caddy.ListenerFunc

type firstKey struct{ transport, address string }

// claim returns the socket of an address for its server, if it was opened first.
func (c *configuration) claim(key firstKey) any {
	opened, _ := c.first.Swap(key, nil)
	return opened
}

// closeUnclaimed closes the sockets that no server has claimed: the load has failed.
func (c *configuration) closeUnclaimed() {
	for _, opened := range c.first.Range {
		if unclaimed, ok := opened.(io.Closer); ok {
			_ = unclaimed.Close()
		}
	}
}

// openFirst opens the socket of a server's address, unless it is open. That of HTTP/3 is
// also open where an earlier configuration has it.
func (c *configuration) openFirst(of *caddyhttp.Server, transport string, address caddy.NetworkAddress) {
	key := firstKey{transport, address.String()}
	if _, open := c.first.LoadOrStore(key, nil); open || transport == "udp" && quicPlaceOf(address).inUse() {
		return
	}
	s := server{Server: of}
	// The context is of no configuration, for openDevicesFirst.
	if opened, err := interfaceNetwork.open(context.Background(), transport, address, s.listenConfig()); err == nil { // or the server will say so
		c.first.Store(key, opened)
	}
}

// openDevicesFirst returns what Caddy calls before it opens a socket. It opens the sockets
// that HTTP servers of the configuration have on devices at that port.
func openDevicesFirst(transport string) caddy.ListenerFunc {
	return func(ctx context.Context, _, host, ports string, offset uint, _ net.ListenConfig) (any, error) {
		address, err := caddy.ParseNetworkAddress(caddy.JoinNetworkAddress(transport, host, ports))
		config, ok := ctx.(caddy.Context)
		if err != nil || !ok {
			return nil, nil
		}
		app, _ := config.AppIfConfigured("http") // its errors are Caddy's to report
		http, ok := app.(*caddyhttp.App)
		if !ok {
			return nil, nil
		}
		for _, on := range devices.of(http) {
			if on.address.StartPort == address.At(offset).StartPort && listensOver(on.server, transport, on.i, on.address, http) {
				configurationOf(config).openFirst(on.server, transport, on.address)
			}
		}
		return nil, nil
	}
}

// devices has the addresses on devices in the configuration that was started last, because
// they are looked up for each of its sockets.
var devices deviceAddresses

type deviceAddresses struct {
	sync.Mutex
	app *caddyhttp.App
	all []deviceAddress
}

// deviceAddress is the i-th address of a server, or one of its ports.
type deviceAddress struct {
	server  *caddyhttp.Server
	i       int
	address caddy.NetworkAddress
}

// of returns the addresses on devices of HTTP servers that are provisioned.
func (d *deviceAddresses) of(app *caddyhttp.App) []deviceAddress {
	d.Lock()
	defer d.Unlock()
	if d.app == app {
		return d.all
	}
	d.app, d.all = app, nil
	for _, server := range app.Servers {
		for i, listen := range server.Listen {
			parsed, err := caddy.ParseNetworkAddress(listen)
			if err != nil || parsed.Network != interfaceNetwork.name {
				continue
			}
			for _, one := range parsed.Expand() {
				d.all = append(d.all, deviceAddress{server, i, one})
			}
		}
	}
	return d.all
}

// listensOver reports whether the server has a socket of TCP, or of UDP, at an address that
// is its i-th (App.Start in caddyhttp/app.go).
func listensOver(s *caddyhttp.Server, transport string, i int, address caddy.NetworkAddress, app *caddyhttp.App) bool {
	protocols := s.Protocols
	if s.ListenProtocols != nil && s.ListenProtocols[i] != nil {
		protocols = s.ListenProtocols[i]
	}
	httpPort := app.HTTPPort
	if httpPort == 0 {
		httpPort = caddyhttp.DefaultHTTPPort
	}
	tls := len(s.TLSConnPolicies) > 0 && int(address.StartPort) != httpPort //nolint:gosec // a port
	if transport == "udp" {
		return tls && slices.Contains(protocols, "h3")
	}
	return tls && slices.Contains(protocols, "h2") || slices.Contains(protocols, "h1") || slices.Contains(protocols, "h2c")
}

// warnOfOlder warns of HTTP/3 on a device where an earlier configuration has it on all
// devices: Caddy keeps that socket, which is the first.
func warnOfOlder(address caddy.NetworkAddress, log *zap.Logger) {
	for _, all := range []string{"", "::", "0.0.0.0"} {
		everywhere := caddy.NetworkAddress{Network: "tcp", Host: all, StartPort: address.StartPort, EndPort: address.EndPort}
		if quicPlaceOf(everywhere).inUse() {
			log.Warn("HTTP/3 on this network interface goes to the site on all interfaces until Caddy is restarted, since that was first")
		}
	}
}
