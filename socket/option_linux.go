package socket

import (
	"cmp"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// number is where the kernel keeps an option: both arguments of setsockopt(2), and the form of its value.
type number struct {
	level, name int
	form        form

	// ipv6 is the option of the same meaning at level IPPROTO_IPV6. A dual-stack socket has both, an IPv4 socket only
	// the first, and so has one that speaks MPTCP.
	ipv6 int

	// force is the option that sets a buffer above the sysctl that limits it, for which
	// a process needs CAP_NET_ADMIN (socket(7)).
	force int

	// lock is the bit of SO_BUF_LOCK that says that a buffer's size was set. Such an
	// option reads as double the value that was set.
	lock int
}

// form is how a value is passed to the kernel.
type form uint8

const (
	integer   form = iota // int
	long                  // unsigned long
	text                  // a name
	opaque                // bytes, as a text
	linger                // struct linger
	backlog               // the argument of listen(2)
	multipath             // whether the protocol, which socket(2) decides, is MPTCP
)

// AsSet returns the value that setsockopt(2) takes for one that getsockopt(2) reads:
// half for a buffer, because the kernel doubles it (socket(7)).
func (o Option) AsSet(read Value) Value {
	if o.lock != 0 {
		read.Number /= 2
	}
	return read
}

// Supported reports whether this system has the option. Whether the running kernel takes it too, package trial tells.
func (o Option) Supported() bool { return o.number != number{} }

func set(c syscall.Conn, settings []Setting) ([]Refusal, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	t := trips.Get().(*trip) //nolint:forcetypeassert // there is nothing else in it
	t.settings = settings
	err = controlRaw(raw, t.step)
	refused := t.refused
	t.settings, t.refused = nil, nil
	trips.Put(t)
	return refused, err
}

// trip takes settings through the runtime to a descriptor. Trips are used again, since
// a function made for each would be an allocation.
type trip struct {
	settings []Setting
	refused  []Refusal
	step     func(fd uintptr)
}

var trips = sync.Pool{New: func() any {
	t := new(trip)
	t.step = t.set
	return t
}}

func (t *trip) set(fd uintptr) {
	for _, s := range t.settings {
		if err := s.Option.set(int(fd), s.Value); err != nil {
			t.refused = append(t.refused, Refusal{s, err})
		}
	}
}

func (o Option) set(fd int, v Value) error {
	if !o.Supported() {
		return errors.ErrUnsupported
	}
	switch o.form {
	case integer:
		return os.NewSyscallError("setsockopt", o.setInt(fd, int(v.Number)))
	case long:
		return os.NewSyscallError("setsockopt", unix.SetsockoptUint64(fd, o.level, o.name, uint64(v.Number))) //nolint:gosec // the same bits
	case text:
		return os.NewSyscallError("setsockopt", unix.SetsockoptString(fd, o.level, o.name, v.Text))
	case linger:
		l := unix.Linger{Onoff: 1, Linger: int32(v.Number)} //nolint:gosec // as SetsockoptInt does
		return os.NewSyscallError("setsockopt", unix.SetsockoptLinger(fd, o.level, o.name, &l))
	case backlog:
		return os.NewSyscallError("listen", unix.Listen(fd, int(v.Number)))
	case multipath:
		if now, err := o.get(fd); err != nil || now != v {
			return os.NewSyscallError("socket", cmp.Or(err, error(unix.EPROTONOSUPPORT)))
		}
		return nil
	case opaque: // the kernel alone writes it
	}
	return errors.ErrUnsupported
}

func (o Option) setInt(fd, value int) error {
	name := o.name
	if o.force != 0 && maySetForced() {
		name = o.force
	}
	err := setsockoptInt(fd, o.level, name, value)
	if err != nil || o.ipv6 == 0 {
		return err
	}
	err = setsockoptInt(fd, unix.IPPROTO_IPV6, o.ipv6, value)
	switch err {
	case unix.ENOPROTOOPT: // an IPv4 socket
		return nil
	case unix.EOPNOTSUPP: // MPTCP, of either family
		if !speaksIPv6(fd) {
			return nil
		}
	}
	return err
}

// maySetForced reports whether this process may set buffers above the sysctls. It
// tries, because a capability of a user namespace does not permit it.
var maySetForced = sync.OnceValue(func() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	const least = 4096
	return setsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, least) == nil
})

// setsockoptInt is setsockopt(2) without a notice to Go's scheduler: the call does
// not wait, and the notice would be a third of its time.
func setsockoptInt(fd, level, name, value int) error {
	v := int32(value) //nolint:gosec // as unix.SetsockoptInt does
	_, _, errno := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0) //nolint:gosec // as unix.SetsockoptInt does
	if errno != 0 {
		return errno
	}
	return nil
}

// speaksIPv6 reports whether a socket sends IPv6 packets, as a dual-stack one may.
func speaksIPv6(fd int) bool {
	address, err := unix.Getsockname(fd)
	v6, ok := address.(*unix.SockaddrInet6)
	return err == nil && ok && !netip.AddrFrom16(v6.Addr).Is4In6()
}

func (o Option) get(fd int) (v Value, err error) {
	if !o.Supported() {
		return v, errors.ErrUnsupported
	}
	switch o.form {
	case integer:
		var n int
		n, err = unix.GetsockoptInt(fd, o.level, o.name)
		v.Number = int64(n)
	case long:
		var n uint64
		n, err = unix.GetsockoptUint64(fd, o.level, o.name)
		v.Number = int64(n) //nolint:gosec // the same bits
	case text, opaque:
		var bytes [40 + 256 + 60]byte // headers of IPv6, some of its extensions, and TCP
		var length uint32
		length, err = getsockopt(fd, o.level, o.name, &bytes)
		v.Text = string(bytes[:length])
		if o.form == text {
			v.Text = strings.TrimRight(v.Text, "\x00")
		}
	case linger:
		var l *unix.Linger
		l, err = unix.GetsockoptLinger(fd, o.level, o.name)
		v.Number = -1
		if err == nil && l.Onoff != 0 {
			v.Number = int64(l.Linger)
		}
	case backlog:
		// For a listening socket tcpi_sacked is the length of the accept
		// queue (tcp_get_info in the kernel's net/ipv4/tcp.c).
		var info unix.TCPInfo
		_, err = getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_INFO, &info)
		v.Number = int64(info.Sacked)
	case multipath:
		var protocol int
		protocol, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		if protocol == unix.IPPROTO_MPTCP {
			v.Number = 1
		}
	}
	return v, os.NewSyscallError("getsockopt", err)
}

// getsockopt reads an option of any size. It returns how many bytes of value are known. It does not
// wait, as setsockoptInt does not.
func getsockopt[T any](fd, level, name int, value *T) (length uint32, err error) {
	length = uint32(unsafe.Sizeof(*value)) //nolint:gosec // it fits
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(value)), uintptr(unsafe.Pointer(&length)), 0) //nolint:gosec // the kernel writes to both
	if errno != 0 {
		return 0, errno
	}
	return length, nil
}

func (*Overrides) set(fd int, s Setting) error { return s.Option.set(fd, s.Value) }

func (o Option) save(fd int) (s saved, err error) {
	s.value, err = o.get(fd)
	s.fixed = o.lock == 0 || locked(fd)&o.lock != 0
	return s, err
}

// restore sets what was saved. The kernel tunes again what it tuned before.
func (o Option) restore(fd int, s saved) error {
	if err := o.set(fd, o.AsSet(s.value)); err != nil || s.fixed {
		return err
	}
	return os.NewSyscallError("setsockopt",
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, locked(fd)&^o.lock))
}

// Tuned reports whether the kernel may change the value by itself.
func (o Option) Tuned() bool { return o.lock != 0 || o.Is(WindowClamp) }

// Bits of SO_BUF_LOCK, from the kernel's include/uapi/linux/socket.h.
const (
	sendLock = 1
	recvLock = 2
)

// locked returns which buffers have a size that was set (SO_BUF_LOCK, Linux 5.14). An
// older kernel does not say; both then count as set.
func locked(fd int) int {
	bits, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	if err != nil {
		return sendLock | recvLock
	}
	return bits
}

// State is all that setting an option may change: beside its value, whether the kernel still
// tunes it, and the second option of an IPv6 socket.
type State struct {
	saved
	ipv6 int // 0 where the socket has none
}

// StateOf reads the state of an option.
//
// Errors: those of Get.
func StateOf(c syscall.Conn, o Option) (s State, err error) {
	err = control(c, func(fd int) (err error) {
		s.saved, err = o.save(fd)
		if o.ipv6 != 0 {
			s.ipv6, _ = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, o.ipv6)
		}
		return err
	})
	return s, err
}
