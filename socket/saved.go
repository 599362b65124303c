package socket

import "syscall"

// Saved is what a socket has of an option, to be compared, and to be put back.
type Saved struct {
	Value Value // as getsockopt(2) reads it

	// Fixed says that the kernel does not tune the value by itself, as it does
	// with a buffer until somebody sets its size.
	Fixed bool
}

// Save reads what the socket of c has of o.
//
// Errors: those of Get.
func Save(c syscall.Conn, o Option) (Saved, error) { return save(c, o) }

// Restore gives the socket of c what was saved of o. The kernel tunes again what it
// tuned before.
//
// Errors: net.ErrClosed, an *os.SyscallError, or errors.ErrUnsupported.
func Restore(c syscall.Conn, o Option, saved Saved) error { return restore(c, o, saved) }
