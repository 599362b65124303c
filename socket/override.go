package socket

import (
	"cmp"
	"errors"
	"net"
	"slices"
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

	// Effective is what the kernel makes of the value. A socket that has it already is left alone.
	Effective Value

	// Observer is called if the kernel refuses the value, unless it is nil.
	Observer RefusalObserver
}

// Hold is one holder of overrides, such as a request while it is served. It does not
// change once Overrides has it, but for Ended.
type Hold struct {
	Overrides []Override

	// Ended is for whoever keeps the stack of holds: this one may leave it.
	Ended bool
}

// RefusalObserver is called for what one socket refuses.
type RefusalObserver interface {
	// Refused is called with an option that the kernel refused on c, with the errors of Set or with ErrStaysSet.
	Refused(c net.Conn, o Option, err error)
}

// ErrStaysSet is why an override does not end.
var ErrStaysSet = errors.New("its value before cannot be read, so it stays set")

// Overrides changes options of one socket while they are held, and then restores the values from before, which only
// Linux reads. It is not safe for use by several goroutines. Once every option was held, Update allocates nothing.
type Overrides struct {
	// Holds is the stack of holds. Between two calls of Update one may be added, as the last, and any may be removed.
	Holds []*Hold

	socket  Socket
	raw     syscall.RawConn  // nil where there is none
	step    func(fd uintptr) // apply as a value: made for each call it would be an allocation
	options []overridden     // a traffic class before the priority

	// priority is that from before. While a traffic class is held, the one that the kernel derives from it is the base.
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

	// fixed says that the kernel does not tune the value by itself, as it does with a buffer until its size is set.
	fixed bool
}

// NewOverrides returns the overrides of a socket.
func NewOverrides(c Socket) *Overrides {
	o := &Overrides{socket: c}
	o.raw, _ = c.SyscallConn()
	o.step = o.apply
	return o
}

// Update makes the socket equal to the stack of holds: an option has the value of the
// latest one that names it, or the one from before. On a closed socket it does nothing.
func (o *Overrides) Update() {
	if o.raw != nil {
		_ = controlRaw(o.raw, o.step)
	}
}

// Retry makes the next Update try what was refused before.
func (o *Overrides) Retry() {
	for i := range o.options {
		o.options[i].refused = false
	}
}

func (o *Overrides) apply(descriptor uintptr) {
	fd := int(descriptor)
	if len(o.Holds) > 0 {
		o.read(fd, o.Holds[len(o.Holds)-1].Overrides)
	}
	var changedBy *Override // what the traffic class has now, or had, if it has changed
	for i := range o.options {
		x := &o.options[i]
		now := x.value()
		if changedBy != nil && x.option.Is(Priority) {
			// The kernel derives the priority from the traffic class whenever that changes (__ip_sock_set_tos in
			// net/ipv4/ip_sockglue.c). While the traffic class alone is held, the derived priority is meant.
			now, _ = x.option.save(fd) // it was read before
			x.base.Number = o.priority
			if class := o.options[0]; class.override != nil {
				x.base = now.value
			}
		}
		if by := o.update(fd, x, now, changedBy); by != nil && x.option.Is(TrafficClass) {
			changedBy = by
		}
	}
}

// read reads the values that options have before they are held. All are read before the
// first is set, since setting one may change another.
func (o *Overrides) read(fd int, overrides []Override) {
	if o.options == nil { // no larger than needed, since idle connections keep it
		o.options = make([]overridden, 0, len(overrides)+1)
	}
	for i := range overrides {
		option := &overrides[i].Option
		o.save(fd, option)
		if option.Is(TrafficClass) {
			o.save(fd, &Priority)
		}
	}
}

// save reads the value of an option that is not held: once, or each time if the kernel tunes it.
func (o *Overrides) save(fd int, option *Option) {
	i := slices.IndexFunc(o.options, func(x overridden) bool { return x.option.Is(*option) })
	switch {
	case i < 0:
		i = len(o.options)
		if option.Is(TrafficClass) {
			i = 0
		}
		o.options = slices.Insert(o.options, i, overridden{option: option})
	case o.options[i].override != nil || !option.Tuned():
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

// update gives an option the value that it should have, if that is another than now. It returns the override that it
// has then, or else had, or else changedBy; nil where nothing has changed.
func (o *Overrides) update(fd int, x *overridden, now saved, changedBy *Override) *Override {
	before := x.override
	x.override = latest(o.Holds, x.option)
	want := x.value()
	if now == want || x.refused {
		return nil
	}
	by := cmp.Or(x.override, before, changedBy)
	var err error
	switch {
	case x.override != nil:
		err = o.set(fd, by.Setting)
	case x.unreadable:
		err = ErrStaysSet
	default:
		err = x.option.restore(fd, want)
	}
	if err != nil {
		if err != ErrStaysSet {
			x.override, x.refused = before, true
		}
		if by.Observer != nil {
			by.Observer.Refused(o.socket, *x.option, err)
		}
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
