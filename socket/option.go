package socket

import "syscall"

// Option is one socket option of the kernel. An Option that this system lacks
// is still a value, so that errors can name it: Supported reports which it is.
type Option struct {
	// Name is the kernel's name, as in socket(7) and tcp(7).
	Name string

	number
}

// Is reports whether o and other are the same option: the kernel has one of a name.
func (o Option) Is(other Option) bool { return o.Name == other.Name }

// Value is what an option is set to, in the kernel's unit: 0 or 1 for a switch,
// bytes for a buffer, and whatever socket(7), tcp(7) and ip(7) say of the rest.
type Value struct {
	Number int64
	Text   string // in place of a number, for an option whose values are names
}

// Setting is an option with the value it shall have.
type Setting struct {
	Option Option
	Value  Value
}

// Refusal is a setting that the kernel refused. Err is an *os.SyscallError, or
// errors.ErrUnsupported where this system lacks the option.
type Refusal struct {
	Setting
	Err error
}

// Set applies settings in order to the socket of c, in one trip through the
// runtime however many they are. It goes on after those that the kernel refuses,
// and returns them. Where c is a Conn and none is refused it allocates nothing.
//
// Set itself fails only where the socket cannot be reached: net.ErrClosed.
func Set(c syscall.Conn, settings []Setting) ([]Refusal, error) {
	if len(settings) == 0 {
		return nil, nil
	}
	return set(c, settings)
}

// Get reads the effective value of o: what the kernel made of the value that
// was set, or its default.
//
// Errors: net.ErrClosed, an *os.SyscallError, or errors.ErrUnsupported where
// this system lacks the option or cannot read it.
func Get(c syscall.Conn, o Option) (Value, error) {
	return get(c, o)
}
