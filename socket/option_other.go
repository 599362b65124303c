//go:build !linux

package socket

import (
	"errors"
	"net"
	"syscall"
)

// number is, on systems other than Linux, the method of net.TCPConn that sets
// the option. Listening sockets have no such methods.
type number struct {
	method func(*net.TCPConn, int) error
}

// Supported reports whether this system has the option.
func (o Option) Supported() bool { return o.method != nil }

// AsSet returns read.
func (o Option) AsSet(read Value) Value { return read }

// A listening socket is left as it is; the connections that it accepts are not.
func set(c syscall.Conn, settings []Setting) (refused []Refusal, err error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, nil
	}
	for _, s := range settings {
		err := errors.ErrUnsupported
		if s.Option.Supported() {
			err = s.Option.method(tcp, int(s.Value.Number))
		}
		if err != nil {
			refused = append(refused, Refusal{s, err})
		}
	}
	return refused, nil
}

// SetRaw does nothing: elsewhere options are set on connections.
func SetRaw(syscall.RawConn, []Setting) ([]Refusal, error) { return nil, nil }

func get(syscall.Conn, Option) (Value, error) { return Value{}, errors.ErrUnsupported }
