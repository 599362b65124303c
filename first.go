package sockopt

import (
	"context"
	"net"
	_ "unsafe" // for go:linkname

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

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
