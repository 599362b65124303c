package sockopt

import (
	"net"
	"reflect"
	"slices"
)

// transparent are the listeners beneath which the wrapper can go: each hands over
// connections that it has wrapped, and accepts nothing before the server does.
var transparent = []string{
	"crypto/tls.listener",
	"github.com/pires/go-proxyproto.Listener",
	"github.com/caddyserver/caddy/v2/modules/caddyhttp.httpRedirectListener",
}

// transparentWrappers are the listener wrappers that make them.
var transparentWrappers = []string{"tls", "proxy_protocol", "http_redirect"}

// innermost returns the listener beneath all transparent ones, and a place for another
// one there. The place is not valid where ln itself is the innermost.
func innermost(ln net.Listener) (inner net.Listener, place reflect.Value) {
	for {
		v := reflect.ValueOf(ln)
		if v.Kind() != reflect.Pointer || !slices.Contains(transparent, typeName(v.Type().Elem())) {
			return ln, place
		}
		field := v.Elem().FieldByName("Listener")
		if !field.CanSet() { // or there is no such field any more
			return ln, place
		}
		next, ok := reflect.TypeAssert[net.Listener](field)
		if !ok {
			return ln, place
		}
		ln, place = next, field
	}
}

func typeName(t reflect.Type) string { return t.PkgPath() + "." + t.Name() }

// isBare reports whether a listener hands over the kernel's connections: Go's own, or
// Caddy's or that of a network of ours around it.
func isBare(ln net.Listener) bool {
	_, ours := ln.(*networkListener)
	p := packageOf(ln)
	return ours || p == "net" || p == caddyPackage
}

const caddyPackage = "github.com/caddyserver/caddy/v2"

// packageOf returns the package of a value's type, or of what it points to.
func packageOf(value any) string {
	t := reflect.TypeOf(value)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath()
}

// hiddenBy returns the listener wrapper before sockopt that may hide connections, or
// nothing.
func (s *server) hiddenBy() string {
	for _, w := range wrappersOf(s.ListenerWrappersRaw) {
		if w.Name == wrapperName {
			return ""
		}
		if !slices.Contains(transparentWrappers, w.Name) {
			return w.Name
		}
	}
	return ""
}
