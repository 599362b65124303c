package socket

import "net"

// Override is a value that an option has for a while.
type Override struct {
	Setting

	// Effective is what the kernel makes of the value. A socket that has it
	// already is left alone.
	Effective Value
}

// Hold is one holder of overrides, such as a request while it is served.
type Hold struct {
	Overrides []Override
	Observer  RefusalObserver
}

// RefusalObserver is called for what one connection refuses.
type RefusalObserver interface {
	// Refused is called with an option that the kernel refused on c, with the
	// errors of Get and Set.
	Refused(c net.Conn, o Option, err error)
}
