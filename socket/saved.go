package socket

// Saved is what a socket has of an option, to be compared, and to be put back.
type Saved struct {
	Value Value // as getsockopt(2) reads it

	// Fixed says that the kernel does not tune the value by itself, as it does
	// with a buffer until somebody sets its size.
	Fixed bool
}
