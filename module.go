// Package sockopt sets socket options on the connections of the Caddy web
// server, and cures the stall between Nagle's algorithm and the delayed ACK.
//
// The files:
//
//	module.go    registers every module
//	options.go   the options: an option is added there, as a field and a row
//	kind.go      how the values of options are written, checked and printed
//	check.go     tries the named options at load and says what the kernel made of them
//	support.go   what this system offers of each option
//	kernel.go    the kernel's release and parameters
//	counters.go  counters that survive a change of configuration
//	report.go    counts what happens to connections and logs what they refuse
//	active.go    the listeners, transports and routes of the running configuration
//	admin.go     the admin endpoint, admin.api.sockopt
//	command.go   the command "caddy sockopt options"
//	command_probe.go
//	             the command "caddy sockopt probe"
//	listener.go  the listener wrapper, caddy.listeners.sockopt
//	handed.go    what accepted connections come with, and need not be given
//	transport.go the transport to backends, http.reverse_proxy.transport.sockopt
//	outfit.go    sets options on a connection, for both
//	handler.go   options for a route's requests, http.handlers.sockopt
//	served.go    the connection of a request, and what its handlers change on it
//	tcpinfo.go   placeholders for what the kernel measures, http.handlers.tcp_info
//	metrics.go   the counters, and TCP_INFO at close, for Prometheus
//	echo.go      the handler http.handlers.echo_payload
//	size.go, duration.go, number.go, dscp.go, raw.go, json.go
//	             values as a person writes them
//	caddyfile.go the grammar of every directive
//
// The kernel's side is in the package socket, the stall probe in the package probe.
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
	caddy.RegisterModule(new(Transport))
	caddy.RegisterModule(Handler{})
	caddy.RegisterModule(TCPInfo{})
	caddy.RegisterModule(EchoPayload{})
	caddy.RegisterModule(AdminAPI{})
	caddycmd.RegisterCommand(command)
	// In this order before all others: the placeholders are there for the matcher
	// of sockopt, whose options hold for what the others send.
	httpcaddyfile.RegisterHandlerDirective("tcp_info", parseTCPInfo)
	httpcaddyfile.RegisterDirectiveOrder("tcp_info", httpcaddyfile.Before, "tracing")
	httpcaddyfile.RegisterHandlerDirective("sockopt", parseHandler)
	httpcaddyfile.RegisterDirectiveOrder("sockopt", httpcaddyfile.Before, "tracing")
	httpcaddyfile.RegisterHandlerDirective("echo_payload", parseEchoPayload)
	httpcaddyfile.RegisterDirectiveOrder("echo_payload", httpcaddyfile.After, "respond")
}

// Interface guards
var (
	_ caddy.Module          = ListenerWrapper{}
	_ caddy.Provisioner     = (*ListenerWrapper)(nil)
	_ caddy.CleanerUpper    = (*ListenerWrapper)(nil)
	_ caddy.ListenerWrapper = (*ListenerWrapper)(nil)
	_ caddyfile.Unmarshaler = (*ListenerWrapper)(nil)

	_ caddy.Module                                     = (*Transport)(nil)
	_ caddy.Provisioner                                = (*Transport)(nil)
	_ caddy.CleanerUpper                               = (*Transport)(nil)
	_ caddyfile.Unmarshaler                            = (*Transport)(nil)
	_ http.RoundTripper                                = (*Transport)(nil)
	_ reverseproxy.TLSTransport                        = (*Transport)(nil)
	_ reverseproxy.H2CTransport                        = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Transport)(nil)

	_ caddy.Module                = Handler{}
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)

	_ caddy.Module                = TCPInfo{}
	_ caddy.Provisioner           = TCPInfo{}
	_ caddyhttp.MiddlewareHandler = TCPInfo{}
	_ caddyfile.Unmarshaler       = (*TCPInfo)(nil)

	_ caddy.AdminRouter = AdminAPI{}

	_ caddy.Module                = EchoPayload{}
	_ caddy.Provisioner           = (*EchoPayload)(nil)
	_ caddyhttp.MiddlewareHandler = (*EchoPayload)(nil)
	_ caddyfile.Unmarshaler       = (*EchoPayload)(nil)
)
