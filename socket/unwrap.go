package socket

import (
	"net"
	"reflect"
)

// maxWraps bounds how deep wrapped connections and listeners are searched, in case one returns itself.
const maxWraps = 16

// TCPConn returns the kernel's TCP connection inside c, however often c is wrapped: by Conn, by *tls.Conn, by a PROXY
// protocol connection, or by a struct that embeds a net.Conn. It never reads from c and never blocks.
func TCPConn(c net.Conn) (*net.TCPConn, bool) { return find[*net.TCPConn](c) }

// AckingConn returns the Conn inside c, which may be wrapped like TCPConn's.
func AckingConn(c net.Conn) (*Conn, bool) { return find[*Conn](c) }

// TCPListener returns the kernel's listening TCP socket inside ln, however often ln is wrapped by structs that embed
// a net.Listener, as Caddy's own and most plugins' do.
func TCPListener(ln net.Listener) (*net.TCPListener, bool) { return find[*net.TCPListener](ln) }

// find returns the outermost T that c, a connection or a listener, is or wraps.
func find[T comparable](c any) (found T, ok bool) {
	// The methods called are those of others, and a nil may be in their way.
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	for range maxWraps {
		if match, isT := c.(T); isT {
			return match, match != *new(T)
		}
		switch w := c.(type) {
		case nil, *net.TCPConn, *net.TCPListener:
			return found, false
		case interface{ NetConn() net.Conn }:
			c = w.NetConn()
		case interface{ Raw() net.Conn }:
			c = w.Raw()
		case interface{ TCPConn() (*net.TCPConn, bool) }:
			c, _ = w.TCPConn()
		case net.Listener:
			c = embedded(w, "Listener", "TCPListener")
		default:
			c = embedded(w, "Conn", "TCPConn")
		}
	}
	return found, false
}

// embedded returns the first exported field by one of these names of the struct, or of the struct behind the pointer,
// that wrapper is. There is no other way to what an unexported type of another package wraps.
func embedded(wrapper any, names ...string) any {
	v := reflect.Indirect(reflect.ValueOf(wrapper))
	if v.Kind() != reflect.Struct {
		return nil
	}
	for _, name := range names {
		if inner := v.FieldByName(name); inner.IsValid() && inner.CanInterface() {
			return inner.Interface()
		}
	}
	return nil
}
