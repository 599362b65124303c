package socket

import (
	"errors"
	"net"
	"syscall"
)

// Socket is a *net.TCPConn, a *Conn or a *net.UDPConn.
type Socket interface {
	net.Conn
	syscall.Conn
}

// Override is a value that an option has for a while.
type Override struct {
	Setting

	// Effective is what the kernel makes of the value. A socket that has it
	// already is left alone.
	Effective Value

	// Observer is called if the kernel refuses the value.
	Observer RefusalObserver
}

// Hold is one holder of overrides, such as a request while it is served. It does not
// change once Overrides has it, but for Ended.
type Hold struct {
	Overrides []Override

	// Ended is for whoever keeps the stack of holds: this one may leave it.
	Ended bool

	read bool //nolint:unused // by Linux alone: whether Overrides has read the values from before
}

// RefusalObserver is called for what one socket refuses.
type RefusalObserver interface {
	// Refused is called with an option that the kernel refused on c, with the
	// errors of Set or with ErrStaysSet.
	Refused(c net.Conn, o Option, err error)
}

// ErrStaysSet is why an override does not end.
var ErrStaysSet = errors.New("its value before cannot be read, so it stays set")
