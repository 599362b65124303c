// Package sockopt sets socket options on the connections of the Caddy web
// server, and cures the stall between Nagle's algorithm and the delayed ACK.
//
// The files:
//
//	module.go    registers every module
//	options.go   the options: an option is added there, as a field and a row
//	kind.go      how the values of options are written, checked and printed
//	check.go     tries the named options at load and says what the kernel made of them
//	report.go    counts and logs what connections refused
//	listener.go  the listener wrapper, caddy.listeners.sockopt
//	echo.go      the handler http.handlers.echo_payload
//	size.go      sizes in bytes, as numbers or text
//	caddyfile.go the grammar of every directive
//
// The kernel's side is in the package socket.
package sockopt

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(ListenerWrapper{})
	caddy.RegisterModule(EchoPayload{})
	httpcaddyfile.RegisterHandlerDirective("echo_payload", parseEchoPayload)
	httpcaddyfile.RegisterDirectiveOrder("echo_payload", httpcaddyfile.After, "respond")
}

// Interface guards
var (
	_ caddy.Module          = ListenerWrapper{}
	_ caddy.Provisioner     = (*ListenerWrapper)(nil)
	_ caddy.ListenerWrapper = (*ListenerWrapper)(nil)
	_ caddyfile.Unmarshaler = (*ListenerWrapper)(nil)

	_ caddy.Module                = EchoPayload{}
	_ caddy.Provisioner           = (*EchoPayload)(nil)
	_ caddyhttp.MiddlewareHandler = (*EchoPayload)(nil)
	_ caddyfile.Unmarshaler       = (*EchoPayload)(nil)
)
