package socket

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Option is one socket option of the kernel. An Option that this system lacks
// is still a value, so that errors can name it: Supported reports which it is.
type Option struct {
	// Name is the kernel's name, as in socket(7) and tcp(7).
	Name string

	number
}

// The options, by the kernel's names. Each system's numbers are in numbers_*.go.
var (
	NoDelay           = newOption("TCP_NODELAY")
	QuickAck          = newOption("TCP_QUICKACK")
	DelayedAckMax     = newOption("TCP_DELACK_MAX_US")
	NotSentLowat      = newOption("TCP_NOTSENT_LOWAT")
	Cork              = newOption("TCP_CORK")
	BusyPoll          = newOption("SO_BUSY_POLL")
	RecvBuffer        = newOption("SO_RCVBUF")
	SendBuffer        = newOption("SO_SNDBUF")
	Congestion        = newOption("TCP_CONGESTION")
	PacingRate        = newOption("SO_MAX_PACING_RATE")
	WindowClamp       = newOption("TCP_WINDOW_CLAMP")
	MaxSegment        = newOption("TCP_MAXSEG")
	ThinStream        = newOption("TCP_THIN_LINEAR_TIMEOUTS")
	KeepAlive         = newOption("SO_KEEPALIVE")
	KeepAliveIdle     = newOption("TCP_KEEPIDLE")
	KeepAliveInterval = newOption("TCP_KEEPINTVL")
	KeepAliveCount    = newOption("TCP_KEEPCNT")
	UserTimeout       = newOption("TCP_USER_TIMEOUT")
	Linger            = newOption("SO_LINGER")
	FinTimeout        = newOption("TCP_LINGER2")
	RTOMin            = newOption("TCP_RTO_MIN_US")
	RTOMax            = newOption("TCP_RTO_MAX_MS")
	TrafficClass      = newOption("IP_TOS, IPV6_TCLASS")
	TTL               = newOption("IP_TTL, IPV6_UNICAST_HOPS")
	Priority          = newOption("SO_PRIORITY")
	Mark              = newOption("SO_MARK")
	Interface         = newOption("SO_BINDTODEVICE")
	LocalPortRange    = newOption("IP_LOCAL_PORT_RANGE")
	BindAddressNoPort = newOption("IP_BIND_ADDRESS_NO_PORT")
	FreeBind          = newOption("IP_FREEBIND, IPV6_FREEBIND")
	Transparent       = newOption("IP_TRANSPARENT, IPV6_TRANSPARENT")
	SynCount          = newOption("TCP_SYNCNT")
	Multipath         = newOption("IPPROTO_MPTCP")
	Backlog           = newOption("listen(2)")
	DeferAccept       = newOption("TCP_DEFER_ACCEPT")
	FastOpen          = newOption("TCP_FASTOPEN")
	SaveSYN           = newOption("TCP_SAVE_SYN")

	// To read alone: the headers of a SYN as Text, and the number of a socket, which its duplicates have, too.
	savedSYN = newOption("TCP_SAVED_SYN")
	Cookie   = newOption("SO_COOKIE")
)

// newOption returns the option of a name. A system that has no number for it lacks it.
func newOption(name string) Option { return Option{name, numbers[name]} }

// Raw returns the option of any level and number that takes an int, which only Linux has.
func Raw(level, name int) Option {
	return Option{fmt.Sprintf("level %d option %d", level, name), numbered(level, name)}
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

// Set applies settings in order to the socket of c, in one trip through the runtime however many they are. It goes on
// after those that the kernel refuses, and returns them. Where c is a Conn and none is refused it allocates nothing.
//
// Set itself fails only where the socket cannot be reached: net.ErrClosed.
func Set(c syscall.Conn, settings []Setting) ([]Refusal, error) {
	if len(settings) == 0 {
		return nil, nil
	}
	return set(c, settings)
}

// Get reads the effective value of o: what the kernel made of the value that was set, or its default.
//
// Errors: net.ErrClosed, an *os.SyscallError, or errors.ErrUnsupported where
// this system lacks the option or cannot read it.
func Get(c syscall.Conn, o Option) (value Value, err error) {
	err = control(c, func(fd int) (err error) {
		value, err = o.get(fd)
		return err
	})
	return value, err
}

// RawSocket is a socket before it is connected, as net.Dialer.Control has it.
type RawSocket struct{ syscall.RawConn }

// SyscallConn returns the raw connection.
func (s RawSocket) SyscallConn() (syscall.RawConn, error) { return s.RawConn, nil }

// control runs f on the descriptor of c.
//
// Errors: net.ErrClosed, or that of f.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	ctlErr := controlRaw(raw, func(fd uintptr) { err = f(int(fd)) })
	return cmp.Or(ctlErr, err)
}

// controlRaw is control for callers that have the raw connection.
func controlRaw(raw syscall.RawConn, f func(fd uintptr)) error {
	err := raw.Control(f)
	if opErr, ok := errors.AsType[*net.OpError](err); ok {
		return opErr.Err
	}
	return err
}
