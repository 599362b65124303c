//go:build !linux

package socket

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// number is, on systems other than Linux, what sets the option on a connection. Sockets that
// listen, or are not yet connected, are left as they are.
type number struct {
	apply func(c syscall.Conn, value int) error
}

// numbers are methods of package net, by the kernel's names of their options.
var numbers = map[string]number{
	"TCP_NODELAY":   method(func(c *net.TCPConn, value int) error { return c.SetNoDelay(value != 0) }),
	"SO_RCVBUF":     method(buffered.SetReadBuffer),
	"SO_SNDBUF":     method(buffered.SetWriteBuffer),
	"SO_LINGER":     method((*net.TCPConn).SetLinger),
	"SO_KEEPALIVE":  method(func(c *net.TCPConn, value int) error { return c.SetKeepAlive(value != 0) }),
	"TCP_KEEPIDLE":  keepAlive(func(k *net.KeepAliveConfig, n int) { k.Idle = time.Duration(n) * time.Second }),
	"TCP_KEEPINTVL": keepAlive(func(k *net.KeepAliveConfig, n int) { k.Interval = time.Duration(n) * time.Second }),
	"TCP_KEEPCNT":   keepAlive(func(k *net.KeepAliveConfig, n int) { k.Count = n }),
}

// buffered is a *net.TCPConn or a *net.UDPConn.
type buffered interface {
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}

func method[C any](set func(c C, value int) error) number {
	return number{func(c syscall.Conn, value int) error {
		if c, ok := c.(C); ok {
			return set(c, value)
		}
		return errors.ErrUnsupported
	}}
}

// keepAlive sets one thing and leaves the others alone.
func keepAlive(set func(k *net.KeepAliveConfig, n int)) number {
	return method(func(c *net.TCPConn, n int) error {
		k := net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}
		set(&k, n)
		return c.SetKeepAliveConfig(k)
	})
}

// numbered returns that this system lacks the option.
func numbered(int, int) number { return number{} }

// Numbered reports false.
func (Option) Numbered(_, _ int) bool { return false }

// Supported reports whether this system has the option.
func (o Option) Supported() bool { return o.apply != nil }

// AsSet returns read.
func (o Option) AsSet(read Value) Value { return read }

func set(c syscall.Conn, settings []Setting) (refused []Refusal, err error) {
	if _, ok := c.(net.Conn); !ok {
		return nil, nil
	}
	for _, s := range settings {
		err := errors.ErrUnsupported
		if s.Option.Supported() {
			err = s.Option.apply(c, int(s.Value.Number))
		}
		if err != nil {
			refused = append(refused, Refusal{s, err})
		}
	}
	return refused, nil
}

// State is what setting an option may change, which can be read on Linux only.
type State struct{}

// StateOf always fails with errors.ErrUnsupported.
func StateOf(syscall.Conn, Option) (State, error) { return State{}, errors.ErrUnsupported }

func (Option) get(int) (Value, error) { return Value{}, errors.ErrUnsupported }
func (Option) set(int, Value) error   { return errors.ErrUnsupported }

func (o *Overrides) set(_ int, s Setting) error {
	refused, _ := set(o.socket, []Setting{s})
	if len(refused) > 0 {
		return refused[0].Err
	}
	return nil
}

func (Option) save(int) (saved, error)  { return saved{}, errors.ErrUnsupported }
func (Option) restore(int, saved) error { return errors.ErrUnsupported }

// Tuned reports false: the value cannot be read.
func (Option) Tuned() bool { return false }

// What only Linux has is missing here: reading it always fails with errors.ErrUnsupported.

// TCPInfo exists on Linux only: elsewhere it has no figures.
type TCPInfo struct{ connectTime uint32 }

func (*TCPInfo) read(int) error { return errors.ErrUnsupported }

// Value returns that no figure is known.
func (*TCPInfo) Value(Figure) (value int64, known bool) { return 0, false }

func (*Measurement) read(int) error { return errors.ErrUnsupported }

// Drops can be read on Linux only.
type Drops struct{}

// Of always fails with errors.ErrUnsupported.
func (*Drops) Of(syscall.Conn) (uint32, error) { return 0, errors.ErrUnsupported }

// leastQUICBuffer is quicBuffer, since no buffer can be read.
const leastQUICBuffer = quicBuffer

// AddTrafficClass does nothing: elsewhere there is no such option.
func AddTrafficClass([]byte, byte) {}

// KernelRelease returns nothing: no option's presence depends on it.
func KernelRelease() string { return "" }

// HasCapability reports false: capabilities are Linux's.
func HasCapability(string) bool { return false }

// WithoutCapabilities always fails with errors.ErrUnsupported: capabilities are Linux's.
func WithoutCapabilities(func()) error { return errors.ErrUnsupported }

func errnoName(syscall.Errno) string { return "" }

// What a Conn needs: there is none.

func readOrPeek(int, []byte) (int, syscall.Errno) { return 0, 0 }
func hasQueued(int) bool                          { return false }
func delayedAckMax(int) time.Duration             { return 0 }
