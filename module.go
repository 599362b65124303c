// Package sockopt sets socket options on the connections of the Caddy web
// server, and cures the stall between Nagle's algorithm and the delayed ACK.
//
// The root package knows Caddy, package options knows what people write, and package
// socket knows the kernel. CONTRIBUTING.md says what is where.
package sockopt

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(ListenerWrapper{})
	caddy.RegisterModule(PacketConnWrapper{})
	caddy.RegisterModule(new(Transport))
	caddy.RegisterModule(new(Handler))
	caddy.RegisterModule(TCPInfo{})
	caddy.RegisterModule(MatchTCPInfo{})
	caddy.RegisterModule(EchoPayload{})
	caddy.RegisterModule(AdminAPI{})
	caddycmd.RegisterCommand(command)
	for _, n := range networks {
		caddy.RegisterNetwork(n.name, n.listener("tcp"))
		caddy.RegisterNetwork(n.name+"_udp", n.listener("udp"))
		caddyhttp.RegisterNetworkHTTP3(n.name, n.name+"_udp")
	}
	for _, name := range []string{"tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "fd", "fdgram"} {
		networkTypes[name] = beforeSocket
	}
	// Both go before all other handlers, tcp_info first: the matcher of sockopt can use
	// the placeholders, and the options of sockopt apply to what other handlers send.
	httpcaddyfile.RegisterHandlerDirective("tcp_info", parseDirective[TCPInfo])
	httpcaddyfile.RegisterGlobalOption("sockopt", parseGlobalOption)
	httpcaddyfile.RegisterDirectiveOrder("tcp_info", httpcaddyfile.Before, "tracing")
	httpcaddyfile.RegisterHandlerDirective("sockopt", parseDirective[Handler])
	httpcaddyfile.RegisterDirectiveOrder("sockopt", httpcaddyfile.Before, "tracing")
	httpcaddyfile.RegisterHandlerDirective("echo_payload", parseDirective[EchoPayload])
	httpcaddyfile.RegisterDirectiveOrder("echo_payload", httpcaddyfile.After, "respond")
}
