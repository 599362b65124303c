package sockopt

import (
	"context"
	"net/http"
	"net/http/httptrace"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// upstreamTCPInfo is what the placeholders of a connection to a backend begin with.
const upstreamTCPInfo = "http.reverse_proxy.upstream.tcp_info."

// RoundTrip sends a request like the http transport, and makes placeholders of what the kernel measures of its
// connection. When a response has been read to its end, its connection is told: the backend then waits for no
// acknowledgement, and the next request will carry it.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	var info *askedInfo
	if t.placeholders != nil {
		info = t.placeholders.make(req.Context())
	}
	settles := t.resolved.Ack.Mode == socket.AckAuto
	if !settles && info == nil {
		return t.HTTPTransport.RoundTrip(req)
	}
	// The trace of reverse_proxy is this request's alone, so hooks can be added. Any other may be shared.
	trace := httptrace.ContextClientTrace(req.Context())
	if _, ok := reverseproxy.GetDialInfo(req.Context()); !ok || trace == nil {
		trace = new(httptrace.ClientTrace)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), trace))
	}
	gotConn, putIdle := trace.GotConn, trace.PutIdleConn // of others
	trace.GotConn = func(got httptrace.GotConnInfo) {
		info.ask(got)
		trace.PutIdleConn = putIdle // and not that of a connection that was tried before
		if acking, ok := socket.AckingConn(got.Conn); ok && settles {
			settle := acking.Settler()
			trace.PutIdleConn = settle
			if putIdle != nil {
				trace.PutIdleConn = func(err error) { settle(err); putIdle(err) }
			}
		}
		if gotConn != nil {
			gotConn(got)
		}
	}
	return t.HTTPTransport.RoundTrip(req)
}

// make makes the placeholders of a request, unless they were made when it was
// sent before. It returns nil outside of Caddy.
func (p *placeholders) make(ctx context.Context) *askedInfo {
	const name = "sockopt.upstream_tcp_info"
	if info, ok := caddyhttp.GetVar(ctx, name).(*askedInfo); ok {
		return info
	}
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return nil
	}
	info := &askedInfo{placeholders: p}
	caddyhttp.SetVar(ctx, name, info)
	repl.Map(info.placeholder)
	return info
}

// ask makes the placeholders ask a connection from now on. A nil a does nothing.
func (a *askedInfo) ask(got httptrace.GotConnInfo) {
	if a != nil {
		*a = askedInfo{placeholders: a.placeholders}
		if acking, ok := socket.AckingConn(got.Conn); ok {
			a.tcp = acking
		} else if tcp, ok := socket.TCPConn(got.Conn); ok {
			a.tcp = tcp
		}
	}
}
