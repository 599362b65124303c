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
func TCPConn(c net.Conn) (*net.TCPConn, bool) {
	for range maxWraps {
		switch w := c.(type) {
		case nil:
			return nil, false
		case *net.TCPConn:
			return w, w != nil
		case *Conn:
			return w.TCPConn, true
		case interface{ NetConn() net.Conn }:
			c = w.NetConn()
		case interface{ Raw() net.Conn }:
			c = w.Raw()
		case interface{ TCPConn() (*net.TCPConn, bool) }:
			return w.TCPConn()
		default:
			c, _ = embedded(w, "Conn").(net.Conn)
		}
	}
	return nil, false
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
			ln, _ = embedded(w, "Listener").(net.Listener)
		}
	}
	return nil, false
}

// embedded returns the exported field of this name of the struct, or of the
// struct behind the pointer, that wrapper is. There is no other way to what an
// unexported type of another package wraps.
func embedded(wrapper any, name string) any {
	v := reflect.ValueOf(wrapper)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil
	}
	field, ok := v.Type().FieldByName(name)
	if !ok || !field.IsExported() {
		return nil
	}
	inner, err := v.FieldByIndexErr(field.Index)
	if err != nil || !inner.CanInterface() {
		return nil
	}
	return inner.Interface()
}
