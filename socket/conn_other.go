//go:build !linux

package socket

import (
	"errors"
	"net"
)

// Conn exists on Linux only: other systems have no TCP_QUICKACK.
type Conn struct {
	*net.TCPConn
	links
}

// NetConn returns the *net.TCPConn.
func (c *Conn) NetConn() net.Conn { return c.TCPConn }

// Settle does nothing.
func (c *Conn) Settle() {}

// Settler returns nil.
func (c *Conn) Settler() func(error) { return nil }

// SetHeldBack does nothing.
func (c *Conn) SetHeldBack(bool) {}

// Push always fails with errors.ErrUnsupported.
func (c *Conn) Push() error { return errors.ErrUnsupported }

// NewConn always fails with errors.ErrUnsupported.
func NewConn(*net.TCPConn, AckOptions, Observer) (*Conn, error) {
	return nil, errors.ErrUnsupported
}

// Turn returns Later.
func (c *Conn) Turn() Turn { return Later }
