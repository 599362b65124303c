// Package sockopt sets socket options on the connections of the Caddy web
// server, and cures the stall between Nagle's algorithm and the delayed ACK.
//
// The root package knows Caddy, package options knows what people write, and package
// socket knows the kernel:
//
//	module.go            registers every module
//	listener.go          the listener wrapper, caddy.listeners.sockopt
//	packetconn.go        the packet conn wrapper for HTTP/3, caddy.packetconns.sockopt
//	packets.go           the UDP sockets of HTTP/3, which outlive configurations
//	transport.go         the transport to backends, http.reverse_proxy.transport.sockopt
//	dialer.go            how it dials, with options before the SYN
//	handler.go           options for the requests of a route, http.handlers.sockopt
//	tcpinfo.go           placeholders for what the kernel measures, http.handlers.tcp_info
//	matcher.go           a matcher of the same figures, http.matchers.tcp_info
//	echo.go              the test payload, http.handlers.echo_payload
//	caddyfile.go         the parsers of the directives
//	configuration.go     what the modules of one configuration share
//	server.go            what we know of one of its HTTP servers, and need of it
//	placement.go         beneath which listener wrappers ours can go
//	routed.go            a request with the options of its routes
//	response.go          how its response is written
//	pacing.go            the limits of connections whose responses are paced
//	coverage.go          which servers and proxies have no options
//	upstream.go          counts the connections of a transport by backend
//	status.go            shows what is in effect now
//	findings.go          looks for what is wrong, when asked and once a minute
//	admin.go             the admin endpoint, admin.api.sockopt
//	command*.go          the command "caddy sockopt", and its probe
//	json.go              how the endpoint and the command write JSON
//	network.go           networks of "bind" with options before bind(2)
//	first.go             sockets on devices, before those on all devices
//	device.go            sockets whose device may come back
//	challenge.go         what automatic HTTPS makes of the networks
//	multipath.go         whether Go listens with MPTCP
//
//	options/             the options: how they are written, checked and tried at load
//	socket/              the kernel: set and get, a connection that acknowledges, TCP_INFO
//	socket/trial/        what this kernel makes of options, tried at load
//	internal/connection/ puts options on one connection, accepted or dialed, and on its requests
//	internal/findings/   what is wrong, from what was seen, and its repair
//	internal/stats/      counters and metrics
//	probe/               finds out whether a server stalls, and why
package sockopt

import (
	"net/http"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	caddy.RegisterModule(ListenerWrapper{})
	caddy.RegisterModule(PacketConnWrapper{})
	caddy.RegisterModule(new(Transport))
	caddy.RegisterModule(Handler{})
	caddy.RegisterModule(TCPInfo{})
	caddy.RegisterModule(MatchTCPInfo{})
	caddy.RegisterModule(EchoPayload{})
	caddy.RegisterModule(AdminAPI{})
	caddycmd.RegisterCommand(command)
	for _, n := range networks {
		n.register()
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

// Interface guards, of what is not registered as such
var (
	_ caddy.Provisioner     = (*ListenerWrapper)(nil)
	_ caddy.ListenerWrapper = (*ListenerWrapper)(nil)
	_ caddyfile.Unmarshaler = (*ListenerWrapper)(nil)

	_ caddy.Provisioner       = (*PacketConnWrapper)(nil)
	_ caddy.CleanerUpper      = (*PacketConnWrapper)(nil)
	_ caddy.PacketConnWrapper = (*PacketConnWrapper)(nil)
	_ caddyfile.Unmarshaler   = (*PacketConnWrapper)(nil)

	_ caddy.Provisioner                                = (*Transport)(nil)
	_ caddyfile.Unmarshaler                            = (*Transport)(nil)
	_ http.RoundTripper                                = (*Transport)(nil)
	_ reverseproxy.TLSTransport                        = (*Transport)(nil)
	_ reverseproxy.H2CTransport                        = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Transport)(nil)

	_ caddy.Provisioner = (*Handler)(nil)

	_ caddy.Provisioner                 = (*MatchTCPInfo)(nil)
	_ caddyhttp.RequestMatcherWithError = (*MatchTCPInfo)(nil)
	_ caddyfile.Unmarshaler             = (*MatchTCPInfo)(nil)

	_ caddy.Provisioner = (*TCPInfo)(nil)
	_ caddy.Provisioner = (*EchoPayload)(nil)
	_ caddy.AdminRouter = AdminAPI{}
)
