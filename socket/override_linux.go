package socket

import (
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Overrides changes options of one connection while they are held, and then restores
// the values from before. If an option has several holds, it has the value of the latest.
// Once every option was held, the methods allocate nothing.
type Overrides struct {
	tcp  *net.TCPConn
	raw  syscall.RawConn
	step func(fd uintptr) // apply as a value: made for each call it would be an allocation

	mu      sync.Mutex
	options []*overridden

	// The arguments of a step.
	change change
	hold   *Hold
}

// change is what a step does with holds.
type change uint8

const (
	hold change = iota
	release
	releaseAll
)

// overridden is an option that was held.
type overridden struct {
	option Option
	base   saved // its value when no option is held
	unheld saved // its value when it is not held, though others may be
	now    saved
	holds  []held // the latest is last

	// broken says that it cannot be read or was refused. It is left alone.
	broken bool
}

// held is the value of one hold.
type held struct {
	hold      *Hold
	value     Value
	effective saved
}

// saved is what a socket has of an option.
type saved struct {
	value Value // as getsockopt(2) reads it

	// fixed says that the kernel does not tune the value by itself, as it does
	// with a buffer until its size is set.
	fixed bool
}

// NewOverrides returns the overrides of a connection.
//
// Errors: those of c.SyscallConn.
func NewOverrides(c *net.TCPConn) (*Overrides, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	o := &Overrides{tcp: c, raw: raw}
	o.step = o.apply
	return o, nil
}

// Hold sets the overrides of h. It calls h.Observer for what the kernel refuses.
func (o *Overrides) Hold(h *Hold) { o.run(hold, h) }

// Release ends a hold. The option has the value of the hold before it again, or the one
// from before all holds.
func (o *Overrides) Release(h *Hold) { o.run(release, h) }

// ReleaseAll ends all holds.
func (o *Overrides) ReleaseAll() { o.run(releaseAll, nil) }

// run makes a change. On a closed connection there is nothing to change.
func (o *Overrides) run(c change, h *Hold) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.change, o.hold = c, h
	_ = controlRaw(o.raw, o.step)
	o.hold = nil
}

func (o *Overrides) apply(descriptor uintptr) {
	fd := int(descriptor)
	switch o.change {
	case hold:
		o.begin(fd, o.hold)
	case release:
		o.end(fd, o.hold)
	case releaseAll:
		o.endAll(fd)
	}
}

func (o *Overrides) begin(fd int, h *Hold) {
	// All are read before the first is set, since setting one may change another.
	for _, v := range h.Overrides {
		o.save(fd, v.Option, h.Observer)
		if v.Option.Is(TrafficClass) {
			o.save(fd, Priority, h.Observer)
		}
	}
	for _, v := range h.Overrides {
		option := o.find(v.Option)
		option.holds = append(option.holds, held{h, v.Value, saved{v.Effective, true}})
		o.update(fd, option, h.Observer)
	}
}

func (o *Overrides) end(fd int, h *Hold) {
	for _, v := range h.Overrides {
		option := o.find(v.Option)
		if option == nil {
			continue
		}
		option.holds = slices.DeleteFunc(option.holds, func(other held) bool { return other.hold == h })
		o.update(fd, option, h.Observer)
	}
}

func (o *Overrides) endAll(fd int) {
	for _, option := range o.options {
		if len(option.holds) == 0 {
			continue
		}
		observer := option.holds[len(option.holds)-1].hold.Observer
		clear(option.holds)
		option.holds = option.holds[:0]
		o.update(fd, option, observer)
	}
}

func (o *Overrides) find(option Option) *overridden {
	i := slices.IndexFunc(o.options, func(other *overridden) bool { return other.option.Is(option) })
	if i < 0 {
		return nil
	}
	return o.options[i]
}

// save reads the value of an option that is not held: once, or each time if the kernel
// tunes it.
func (o *Overrides) save(fd int, option Option, observer RefusalObserver) {
	found := o.find(option)
	switch {
	case found == nil:
		found = &overridden{option: option}
		o.options = append(o.options, found)
	case !option.tuned() || found.broken || len(found.holds) > 0:
		return
	}
	base, err := option.save(fd)
	if err != nil {
		found.broken = true
		observer.Refused(o.tcp, option, err)
		return
	}
	found.base, found.unheld, found.now = base, base, base
}

// update gives an option the value that it should have now, if it has another.
func (o *Overrides) update(fd int, option *overridden, observer RefusalObserver) {
	if option.broken {
		return
	}
	want := option.unheld
	if len(option.holds) > 0 {
		want = option.holds[len(option.holds)-1].effective
	}
	if option.now == want {
		return
	}
	var err error
	if len(option.holds) > 0 {
		err = option.option.set(fd, option.holds[len(option.holds)-1].value)
	} else {
		err = option.option.restore(fd, want)
	}
	if err != nil {
		option.broken = true
		observer.Refused(o.tcp, option.option, err)
	}
	option.now = want
	if option.option.Is(TrafficClass) {
		o.updatePriority(fd, option, observer)
	}
}

// updatePriority corrects the priority, which the kernel derives from the traffic
// class whenever that changes (__ip_sock_set_tos in net/ipv4/ip_sockglue.c). While the
// traffic class alone is held, the derived priority is meant.
func (o *Overrides) updatePriority(fd int, class *overridden, observer RefusalObserver) {
	priority := o.find(Priority)
	if priority.broken {
		return
	}
	now, err := Priority.save(fd)
	if err != nil {
		return
	}
	priority.now, priority.unheld = now, now
	if len(class.holds) == 0 {
		priority.unheld = priority.base
	}
	o.update(fd, priority, observer)
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
