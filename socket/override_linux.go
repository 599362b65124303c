package socket

import (
	"cmp"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Overrides changes options of one socket while they are held, and then restores the
// values from before. It is not safe for use by several goroutines. Once every option
// was held, Update allocates nothing.
type Overrides struct {
	socket  Socket
	raw     syscall.RawConn  // nil where there is none
	step    func(fd uintptr) // apply as a value: made for each call it would be an allocation
	holds   []*Hold          // the argument of a step
	options []overridden     // a traffic class before the priority

	// priority is that from before. While a traffic class is held, the one that the
	// kernel derives from it is the base.
	priority int64
}

// overridden is an option that was held. It is small, since idle connections keep it.
type overridden struct {
	option   *Option
	override *Override // in effect now; nil when it is not held
	base     Value     // when it is not held

	fixed      bool // as in saved, of base
	unreadable bool // base is not known
	refused    bool // it is left alone
}

// saved is what a socket has of an option.
type saved struct {
	value Value // as getsockopt(2) reads it

	// fixed says that the kernel does not tune the value by itself, as it does
	// with a buffer until its size is set.
	fixed bool
}

// NewOverrides returns the overrides of a socket.
func NewOverrides(c Socket) *Overrides {
	o := &Overrides{socket: c}
	o.raw, _ = c.SyscallConn()
	o.step = o.apply
	return o
}

// Update makes the socket equal to a stack of holds: an option has the value of the
// latest one that names it, or the one from before. On a closed socket it does nothing.
func (o *Overrides) Update(holds []*Hold) {
	if o.raw == nil {
		return
	}
	o.holds = holds
	_ = controlRaw(o.raw, o.step)
	o.holds = nil
}

// Retry makes the next Update try what was refused before.
func (o *Overrides) Retry() {
	for i := range o.options {
		o.options[i].refused = false
	}
}

func (o *Overrides) apply(descriptor uintptr) {
	fd := int(descriptor)
	// All are read before the first is set, since setting one may change another.
	for _, h := range o.holds {
		if !h.read {
			h.read = true
			o.read(fd, h.Overrides)
		}
	}
	var class *overridden   // the traffic class, if it has changed
	var changedBy *Override // what it has now, or had
	for i := range o.options {
		x := &o.options[i]
		now := x.value()
		if class != nil && x.option.Is(Priority) {
			// The kernel derives the priority from the traffic class whenever that
			// changes (__ip_sock_set_tos in net/ipv4/ip_sockglue.c). While the
			// traffic class alone is held, the derived priority is meant.
			now, _ = x.option.save(fd) // it was read before
			x.base.Number = o.priority
			if class.override != nil {
				x.base = now.value
			}
		}
		if by := o.update(fd, x, now, changedBy); by != nil && x.option.Is(TrafficClass) {
			class, changedBy = x, by
		}
	}
}

// read reads the values that options have before they are held.
func (o *Overrides) read(fd int, overrides []Override) {
	if o.options == nil {
		has := func(option Option) bool {
			return slices.ContainsFunc(overrides, func(x Override) bool { return x.Option.Is(option) })
		}
		room := len(overrides) // and no more, since idle connections keep it
		if has(TrafficClass) && !has(Priority) {
			room++
		}
		o.options = make([]overridden, 0, room)
	}
	for i := range overrides {
		option := &overrides[i].Option
		o.save(fd, option)
		if option.Is(TrafficClass) {
			o.save(fd, &Priority)
		}
	}
}

// save reads the value of an option that is not held: once, or each time if the kernel
// tunes it.
func (o *Overrides) save(fd int, option *Option) {
	i := slices.IndexFunc(o.options, func(x overridden) bool { return x.option.Is(*option) })
	switch {
	case i < 0:
		i = len(o.options)
		if option.Is(TrafficClass) {
			i = 0
		}
		o.options = slices.Insert(o.options, i, overridden{option: option})
	case o.options[i].override != nil || !option.tuned():
		return
	}
	x := &o.options[i]
	base, err := option.save(fd)
	// What cannot be read is not fixed, and so differs from all that is set.
	x.base, x.fixed, x.unreadable = base.value, base.fixed && err == nil, err != nil
	if option.Is(Priority) {
		o.priority = x.base.Number
	}
}

// update gives an option the value that it should have, if that is another than now. It
// returns the override that it has then, or else had, or else changedBy; nil where
// nothing has changed.
func (o *Overrides) update(fd int, x *overridden, now saved, changedBy *Override) *Override {
	before := x.override
	x.override = latest(o.holds, x.option)
	want := x.value()
	if now == want || x.refused {
		return nil
	}
	by := cmp.Or(x.override, before, changedBy)
	var err error
	switch {
	case x.override != nil:
		err = x.option.set(fd, by.Value)
	case x.unreadable:
		err = ErrStaysSet
	default:
		err = x.option.restore(fd, want)
	}
	if err != nil {
		if err != ErrStaysSet {
			x.override, x.refused = before, true
		}
		by.Observer.Refused(o.socket, *x.option, err)
	}
	return by
}

// latest returns the override of an option that counts.
func latest(holds []*Hold, option *Option) *Override {
	for _, h := range slices.Backward(holds) {
		for i := range h.Overrides {
			if h.Overrides[i].Option.Is(*option) {
				return &h.Overrides[i]
			}
		}
	}
	return nil
}

// value is what the option has, or should have, by its override.
func (x *overridden) value() saved {
	if x.override == nil {
		return saved{x.base, x.fixed}
	}
	return saved{x.override.Effective, true}
}

func (o Option) save(fd int) (s saved, err error) {
	s.value, err = o.get(fd)
	s.fixed = o.lock == 0 || locked(fd)&o.lock != 0
	return s, err
}

// restore sets what was saved. The kernel tunes again what it tuned before.
func (o Option) restore(fd int, s saved) error {
	if err := o.set(fd, o.AsSet(s.value)); err != nil || o.lock == 0 || s.fixed {
		return err
	}
	return os.NewSyscallError("setsockopt",
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, locked(fd)&^o.lock))
}

// tuned reports whether the kernel may change the value by itself.
func (o Option) tuned() bool { return o.lock != 0 || o.Is(WindowClamp) }

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
