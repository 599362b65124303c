package socket

import (
	"net"
	"reflect"
)

// maxWraps bounds how deep wrapped connections and listeners are searched, in
// case one returns itself.
const maxWraps = 16

// TCPConn returns the kernel's TCP connection inside c, however often c is
// wrapped: by Conn, by *tls.Conn, by a PROXY protocol connection, or by a struct
// that embeds a net.Conn. It never reads from c and never blocks.
func TCPConn(c net.Conn) (*net.TCPConn, bool) { return find[*net.TCPConn](c) }

// AckingConn returns the Conn inside c, which may be wrapped like TCPConn's.
func AckingConn(c net.Conn) (*Conn, bool) { return find[*Conn](c) }

// find returns the outermost T that c is or wraps.
func find[T interface {
	comparable
	net.Conn
}](c net.Conn) (found T, ok bool) {
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
		case nil, *net.TCPConn:
			return found, false
		case *Conn:
			c = w.TCPConn
		case interface{ NetConn() net.Conn }:
			c = w.NetConn()
		case interface{ Raw() net.Conn }:
			c = w.Raw()
		case interface{ TCPConn() (*net.TCPConn, bool) }:
			c, _ = w.TCPConn()
		default:
			c, _ = embedded(w, "Conn", "TCPConn").(net.Conn)
		}
	}
	return found, false
}

// TCPListener returns the kernel's listening TCP socket inside ln, however often
// ln is wrapped by structs that embed a net.Listener, as Caddy's own and most
// plugins' do.
func TCPListener(ln net.Listener) (*net.TCPListener, bool) {
	for range maxWraps {
		switch w := ln.(type) {
		case nil:
			return nil, false
		case *net.TCPListener:
			return w, w != nil
		default:
			ln, _ = embedded(w, "Listener", "TCPListener").(net.Listener)
		}
	}
	return nil, false
}

// embedded returns the first exported field by one of these names of the struct,
// or of the struct behind the pointer, that wrapper is. There is no other way to
// what an unexported type of another package wraps.
func embedded(wrapper any, names ...string) any {
	v := reflect.ValueOf(wrapper)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil
	}
	for _, name := range names {
		field, ok := v.Type().FieldByName(name)
		if !ok || !field.IsExported() {
			continue
		}
		inner, err := v.FieldByIndexErr(field.Index)
		if err != nil || !inner.CanInterface() {
			continue
		}
		return inner.Interface()
	}
	return nil
}
