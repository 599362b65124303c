//go:build !linux

package socket

import (
	"net"
	"time"
)

// numbers are the methods of net.TCPConn, by the kernel's names of their options.
var numbers = map[string]number{
	"TCP_NODELAY": {method: func(c *net.TCPConn, value int) error {
		return c.SetNoDelay(value != 0)
	}},
	"SO_RCVBUF": {(*net.TCPConn).SetReadBuffer, (*net.UDPConn).SetReadBuffer},
	"SO_SNDBUF": {(*net.TCPConn).SetWriteBuffer, (*net.UDPConn).SetWriteBuffer},
	"SO_LINGER": {method: (*net.TCPConn).SetLinger},
	"SO_KEEPALIVE": {method: func(c *net.TCPConn, value int) error {
		return c.SetKeepAlive(value != 0)
	}},
	"TCP_KEEPIDLE": {method: func(c *net.TCPConn, value int) error {
		return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: seconds(value), Interval: -1, Count: -1})
	}},
	"TCP_KEEPINTVL": {method: func(c *net.TCPConn, value int) error {
		return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: -1, Interval: seconds(value), Count: -1})
	}},
	"TCP_KEEPCNT": {method: func(c *net.TCPConn, value int) error {
		return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: value})
	}},
}

// numbered returns that this system lacks the option.
func numbered(int, int) number { return number{} }

// Numbered reports false.
func (Option) Numbered(_, _ int) bool { return false }

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }
