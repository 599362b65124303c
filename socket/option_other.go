//go:build !linux

package socket

import (
	"errors"
	"net"
	"syscall"
)

// number is, on systems other than Linux, the method of net.TCPConn that sets
// the option, and that of net.UDPConn where it has one. Listening sockets have no such
// methods.
type number struct {
	method   func(*net.TCPConn, int) error
	datagram func(*net.UDPConn, int) error
}

// Supported reports whether this system has the option.
func (o Option) Supported() bool { return o.method != nil }

// AsSet returns read.
func (o Option) AsSet(read Value) Value { return read }

// A listening socket is left as it is; the connections that it accepts are not.
func set(c syscall.Conn, settings []Setting) (refused []Refusal, err error) {
	for _, s := range settings {
		var err error
		switch c := c.(type) {
		case *net.TCPConn:
			err = call(s.Option.method, c, s.Value)
		case *net.UDPConn:
			err = call(s.Option.datagram, c, s.Value)
		}
		if err != nil {
			refused = append(refused, Refusal{s, err})
		}
	}
	return refused, nil
}

func call[C any](method func(C, int) error, c C, v Value) error {
	if method == nil {
		return errors.ErrUnsupported
	}
	return method(c, int(v.Number))
}

// SetRaw does nothing: elsewhere options are set on connections.
func SetRaw(syscall.RawConn, []Setting) ([]Refusal, error) { return nil, nil }

// State is what setting an option may change, which can be read on Linux only.
type State struct{}

// StateOf always fails with errors.ErrUnsupported.
func StateOf(syscall.Conn, Option) (State, error) { return State{}, errors.ErrUnsupported }

func (Option) get(int) (Value, error) { return Value{}, errors.ErrUnsupported }
func (Option) set(int, Value) error   { return errors.ErrUnsupported }
