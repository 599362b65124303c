package sockopt

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptrace"
	"reflect"
	"sync"
	"weak"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// upstreamTCPInfo is what the placeholders of a connection to a backend begin with.
const upstreamTCPInfo = "http.reverse_proxy.upstream.tcp_info."

// RoundTrip sends a request like the http transport, and makes placeholders of what the
// kernel measures of its connection. When a response has been read to its end, its
// connection is told: the backend then waits for no acknowledgement, and the next
// request will carry it.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	var info *askedInfo
	if t.placeholders != nil {
		info = t.placeholders.make(req.Context())
	}
	settles := t.resolved.Ack.Mode == socket.AckAuto
	if !settles && info == nil {
		return t.HTTPTransport.RoundTrip(req)
	}
	if trace := ownTrace(req.Context()); trace != nil {
		trace.GotConn = func(got httptrace.GotConnInfo) {
			info.ask(got)
			trace.PutIdleConn = nil // of a connection that was tried before
			if acking, ok := socket.AckingConn(got.Conn); ok && settles {
				trace.PutIdleConn = acking.Settler()
			}
		}
		return t.HTTPTransport.RoundTrip(req)
	}
	var settle func(error)
	trace := &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) {
			info.ask(got)
			settle = nil
			if acking, ok := socket.AckingConn(got.Conn); ok && settles {
				settle = acking.Settler()
			}
		},
		PutIdleConn: func(err error) {
			if settle != nil {
				settle(err)
			}
		},
	}
	return t.HTTPTransport.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
}

// ownTrace returns the trace that reverse_proxy has made for this request alone, to which
// hooks can be added. Any other may be shared: it returns nil.
func ownTrace(ctx context.Context) *httptrace.ClientTrace {
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil || trace.GotConn != nil || trace.PutIdleConn != nil {
		return nil
	}
	if _, ok := reverseproxy.GetDialInfo(ctx); !ok {
		return nil
	}
	return trace
}

// make makes the placeholders of a request, unless they were made when it was
// sent before. It returns nil outside of Caddy.
func (p *placeholders) make(ctx context.Context) *askedInfo {
	const name = "sockopt.upstream_tcp_info"
	if info, ok := caddyhttp.GetVar(ctx, name).(*askedInfo); ok {
		*info = askedInfo{placeholders: p}
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
		tcp, _ := socket.TCPConn(got.Conn)
		*a = askedInfo{placeholders: a.placeholders, tcp: tcp}
	}
}

// mayName reports whether the configuration of the HTTP app that is provisioned with ctx
// may name a placeholder that begins with prefix. Templates can name any.
func mayName(ctx caddy.Context, prefix string) bool {
	config := rawHTTP(ctx)
	if len(config) == 0 {
		return true
	}
	return lastSearch.find(config, prefix)
}

// rawHTTP returns the JSON of the HTTP app. Caddy keeps it in an unexported field until
// the app is provisioned (Context.App in context.go). Where that changes it is empty.
func rawHTTP(ctx caddy.Context) []byte {
	config := reflect.ValueOf(ctx).FieldByName("cfg")
	if config.Kind() != reflect.Pointer || config.IsNil() {
		return nil
	}
	apps, ok := config.Type().Elem().FieldByName("AppsRaw")
	if !ok || apps.Type != reflect.TypeFor[caddy.ModuleMap]() {
		return nil
	}
	raw := config.Elem().FieldByIndex(apps.Index).MapIndex(reflect.ValueOf("http"))
	if !raw.IsValid() {
		return nil
	}
	return raw.Bytes()
}

// lastSearch is the search of the latest configuration: it may have thousands of
// transports, and be large.
var lastSearch search

type search struct {
	mu     sync.Mutex
	config weak.Pointer[byte] // of its first byte
	found  bool
}

func (s *search) find(config []byte, prefix string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := weak.Make(&config[0]); s.config != first {
		s.config = first
		s.found = bytes.Contains(config, []byte(prefix)) || bytes.Contains(config, []byte(`"templates"`))
	}
	return s.found
}
