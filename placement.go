package sockopt

import (
	"maps"
	"net"
	"reflect"
	"slices"
)

// transparent are the listeners beneath which the wrapper can go, by the listener wrapper that makes them: each hands
// over connections that it has wrapped, and accepts nothing before the server does.
var transparent = map[string]string{
	"tls":            "crypto/tls.listener",
	"proxy_protocol": "github.com/pires/go-proxyproto.Listener",
	"http_redirect":  "github.com/caddyserver/caddy/v2/modules/caddyhttp.httpRedirectListener",
}

// innermost returns the listener beneath all transparent ones, and a place for another
// one there. The place is not valid where ln itself is the innermost.
func innermost(ln net.Listener) (inner net.Listener, place reflect.Value) {
	for t := typeOf(ln); slices.Contains(slices.Collect(maps.Values(transparent)), t.PkgPath()+"."+t.Name()); t = typeOf(ln) {
		field := reflect.Indirect(reflect.ValueOf(ln)).FieldByName("Listener")
		if !field.CanSet() { // or there is no such field any more
			break
		}
		next, ok := reflect.TypeAssert[net.Listener](field)
		if !ok {
			break
		}
		ln, place = next, field
	}
	return ln, place
}

// isBare reports whether a listener hands over the kernel's connections: Go's own, or
// Caddy's or that of a network of ours around it.
func isBare(ln net.Listener) bool {
	_, ours := ln.(*closer)
	p := typeOf(ln).PkgPath()
	return ours || p == "net" || p == caddyPackage
}

const caddyPackage = "github.com/caddyserver/caddy/v2"

// typeOf returns the type of a value, or of what it points to.
func typeOf(value any) reflect.Type { return reflect.Indirect(reflect.ValueOf(value)).Type() }

// hiddenBy returns the listener wrapper before sockopt that may hide connections, or nothing.
func (s *server) hiddenBy() string {
	for _, w := range wrappersOf(s.ListenerWrappersRaw) {
		if w.Name == wrapperName {
			return ""
		}
		if transparent[w.Name] == "" {
			return w.Name
		}
	}
	return ""
}
