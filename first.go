package sockopt

import (
	"cmp"
	"context"
	"io"
	"net"
	"slices"
	_ "unsafe" // for go:linkname

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Of two wildcard addresses with SO_REUSEPORT, one on a device and one on all, the kernel
// takes the socket that was opened first (inet_lhash2_lookup in net/ipv4/inet_hashtables.c,
// udp6_lib_lookup2 in net/ipv6/udp.c), and Caddy starts servers in no order. So before
// Caddy opens the first socket of a configuration, all those on devices are opened.

// networkTypes has the networks of Caddy by name. It calls one before it opens a socket
// by itself, also for tcp and udp, which RegisterNetwork does not take.
//
//go:linkname networkTypes github.com/caddyserver/caddy/v2.networkTypes
var networkTypes map[string]caddy.ListenerFunc

type firstKey struct{ transport, address string }

// beforeSocket is what Caddy calls before it opens a socket: then it opens that, too.
func beforeSocket(ctx context.Context, _, _, _ string, _ uint, _ net.ListenConfig) (any, error) {
	if config, ok := ctx.(caddy.Context); ok {
		openDevicesFirst(config)
	}
	return nil, nil
}

// openDevicesFirst opens, once, the sockets that HTTP servers of a configuration have on
// devices.
func openDevicesFirst(config caddy.Context) {
	app, _ := config.AppIfConfigured("http") // its errors are Caddy's to report
	if http, ok := app.(*caddyhttp.App); ok {
		c := configurationOf(config)
		c.devicesFirst.Do(func() { c.openDevices(http) })
	}
}

func (c *configuration) openDevices(app *caddyhttp.App) {
	for _, s := range app.Servers {
		for i, listen := range s.Listen {
			parsed, err := caddy.ParseNetworkAddress(listen)
			if err != nil || parsed.Network != interfaceNetwork.name {
				continue
			}
			for _, address := range parsed.Expand() {
				for _, transport := range transportsOf(s, i, address, app) {
					// The context is of no configuration, for beforeSocket.
					opened, err := interfaceNetwork.open(context.Background(), transport, address, (&server{Server: s}).listenConfig())
					if err == nil { // or the server will say so
						c.first.Store(firstKey{transport, address.String()}, opened)
					}
				}
			}
		}
	}
}

// transportsOf returns over what the server opens an address that is its i-th (App.Start in
// caddyhttp/app.go).
func transportsOf(s *caddyhttp.Server, i int, address caddy.NetworkAddress, app *caddyhttp.App) (transports []string) {
	protocols := s.Protocols
	if s.ListenProtocols != nil && s.ListenProtocols[i] != nil {
		protocols = s.ListenProtocols[i]
	}
	tls := len(s.TLSConnPolicies) > 0 && int(address.StartPort) != cmp.Or(app.HTTPPort, caddyhttp.DefaultHTTPPort) //nolint:gosec // a port
	if tls && slices.Contains(protocols, "h2") || slices.Contains(protocols, "h1") || slices.Contains(protocols, "h2c") {
		transports = append(transports, "tcp")
	}
	if tls && slices.Contains(protocols, "h3") && !quicPlaceOf(address).inUse() { // by an earlier configuration, whose socket stays
		transports = append(transports, "udp")
	}
	return transports
}

// closeUnclaimed closes the sockets that no server has claimed: the load has failed.
func (c *configuration) closeUnclaimed() {
	for _, opened := range c.first.Range {
		_ = opened.(io.Closer).Close() //nolint:forcetypeassert // it is a socket
	}
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
