package socket

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// learning is what AckAuto has learned about the peer. It begins eager: it
// acknowledges at each park with bytes owed. Where too many of these are wasted it
// becomes patient and leaves them to the kernel, whose timer it shortens first, and
// restores where replies keep coming later than the short one. Waits that look like
// stalls make it eager again, on trial: if the peer's bytes then come as soon as they
// are acknowledged, the peer did wait, and the Conn may waste more from now on.
type learning struct {
	// left is how many acknowledgements may be wasted; below 1 the Conn is patient.
	left atomic.Int32

	// late grows with replies that came after the short timer, and shrinks with those
	// in time.
	late atomic.Int32

	timer atomic.Uint32

	// The goroutine that reads has these to itself.
	before    uint32 // TCP_DELACK_MAX_US before it was shortened, in microseconds; 0 is unknown
	rtt       uint32 // tcpi_min_rtt at the last stall, in microseconds
	suspicion int32  // grows with waits that look like stalls, shrinks with quick small segments, fades with parks
	trusted   uint8  // trials that were not refuted, up to mostTrusted
	refuted   uint8  // trials in a row in which acknowledging did not help, up to mostRefuted
	score     int8   // acknowledgements of a trial that helped, less those that did not
	onTrial   bool
	keep      bool   // KeepDelayedAckMax
	unit      uint16 // bytes read since a reply, or more where a read filled its buffer; up to smallBytes
}

// Values of learning.timer.
const (
	timerUntouched uint32 = iota
	timerShort
	timerRestored
	timerKept // it cannot be shortened
)

const (
	// firstLeft is how many acknowledgements are wasted before a Conn is patient, and
	// trialLeft how many in its first trial. Each one that is not refuted allows 16 times
	// as many as before.
	firstLeft   = 4
	trialLeft   = 24
	mostTrusted = 5 // 24 Mi wasted

	// A busy machine, requests that overlap, and peers that take time to think sometimes
	// look like a stall. A stall of the short timer costs little, so the first trial takes
	// two of them within 32 parks. After a trial that refuted them it takes 16 times as many.
	stallWeight = 32
	mostRefuted = 4

	// Nagle's algorithm holds back a small segment that follows another, until that is
	// acknowledged. One that comes at once, though the Conn acknowledged nothing, is a hint
	// that the peer does not use it: on a busy machine it looks as if many peers stalled.
	// It is no proof, because the kernel acknowledges with data that it still has to send.
	// So it delays a trial by two short stalls at most.
	smallBytes      = 512
	quickWeight     = stallWeight / 2
	leastSuspicious = -3 * stallWeight

	// A trial ends when the acknowledgements that did not help are this many more than
	// those that did.
	hopeless = 4

	// A late reply weighs as much as lateWeight replies in time. Where one in 33 or more is
	// late, the kernel's own timer is restored: each late reply costs a segment.
	lateWeight = 32
	lateMost   = 4 * lateWeight
)

func (l *learning) begin(keep bool) {
	l.left.Store(firstLeft)
	l.keep = keep
}

// patient reports whether acknowledgements are left to the kernel.
func (l *learning) patient() bool { return l.left.Load() <= 0 }

// wasted is called for a write that would have carried the acknowledgement that the
// Conn asked for.
func (c *Conn) wasted() {
	c.observer.Wasted(c)
	if c.left.Add(-1) == 0 {
		c.observer.BecamePatient(c)
	}
}

// inTime is called for a write that carries an acknowledgement that the Conn did not
// ask for. If the write is late, the short timer has already sent it.
func (c *Conn) inTime() {
	if c.timer.Load() != timerShort {
		return
	}
	parked := c.parked.Load()
	switch {
	case parked == 0:
	case now()-parked > int64(shortest.Load())*int64(time.Microsecond):
		c.late.Add(lateWeight)
	case c.late.Load() > 0:
		c.late.Add(-1)
	}
}

// suspect is called after a wait that looks like a stall, on a path with a round trip of
// rtt microseconds. It reports whether the Conn takes it for one.
func (c *Conn) suspect(rtt uint32) bool {
	if c.never || c.refused {
		return true
	}
	c.suspicion += stallWeight
	enough := int32(stallWeight) << (4 * c.refuted)
	if c.refuted == 0 && (c.trusted > 0 || c.timer.Load() != timerShort) {
		enough = 0
	}
	if c.suspicion <= enough {
		return c.refuted == 0
	}
	c.suspicion, c.score, c.onTrial, c.rtt = 0, 0, true, rtt
	c.left.Store(trialLeft << (4 * c.trusted))
	c.trusted = min(c.trusted+1, mostTrusted)
	if c.timer.Load() == timerRestored {
		c.late.Store(0)
		c.timer.Store(timerUntouched)
	}
	return true
}

// clear is called when bytes came at once after a park without an acknowledgement or a
// reply.
func (c *Conn) clear() {
	if c.timer.Load() != timerShort || c.sending.Load() || c.n == len(c.buf) {
		return
	}
	if c.unit < smallBytes && c.n < smallBytes {
		c.suspicion = max(leastSuspicious, c.suspicion-quickWeight)
	}
}

// received counts the bytes of a read.
func (c *Conn) received() {
	if c.due.Load() == nothing {
		c.unit = 0
	}
	n := c.n
	if n == len(c.buf) { // the segment may have more
		n = smallBytes
	}
	c.unit += uint16(min(n, smallBytes-int(c.unit))) //nolint:gosec // at most smallBytes
}

// judge is called when bytes came wait after an acknowledgement on trial.
func (c *Conn) judge(wait time.Duration) {
	wait -= time.Duration(c.rtt) * time.Microsecond
	switch least := c.leastStall(); {
	case wait < least/2:
		c.score = min(c.score+1, hopeless)
	case wait >= least:
		c.score--
	}
	if c.score <= -hopeless && c.left.Swap(0) > 0 {
		c.observer.BecamePatient(c)
	}
}

// endTrial is called when a Conn on trial has become patient.
func (c *Conn) endTrial() {
	c.onTrial = false
	if c.score > 0 {
		c.refuted = 0
		return
	}
	c.refuted = min(c.refuted+1, mostRefuted)
	c.trusted--
}

// bePatient is called at a park of a patient Conn, which does not acknowledge.
func (c *Conn) bePatient(fd int) {
	if c.onTrial {
		c.endTrial()
	}
	switch {
	case c.suspicion > 0:
		c.suspicion--
	case c.suspicion < 0:
		c.suspicion++
	}
	c.tune(fd)
}

// tune sets the kernel's timer at a park, if need be.
func (c *Conn) tune(fd int) {
	switch c.timer.Load() {
	case timerUntouched:
		c.shorten(fd)
	case timerShort:
		if c.late.Load() >= lateMost {
			_ = DelayedAckMax.set(fd, Value{Number: int64(c.before)})
			c.timer.Store(timerRestored)
		}
	}
}

// shorten sets the kernel's timer to the least that it takes. Before Linux 6.15 it
// takes none, nor does a socket that speaks MPTCP.
func (c *Conn) shorten(fd int) {
	before := delayedAckMax(fd)
	c.before = uint32(before / time.Microsecond) //nolint:gosec // at most 200 ms
	c.timer.Store(timerKept)
	if c.keep || before == 0 {
		return
	}
	least := shortestDelay(fd)
	if least == 0 || least >= before {
		return
	}
	if DelayedAckMax.set(fd, Value{Number: int64(least / time.Microsecond)}) == nil {
		c.timer.Store(timerShort)
	}
}

// shortest is the least TCP_DELACK_MAX_US that this kernel takes, in microseconds,
// once it is known.
var shortest atomic.Uint32

// shortestDelay returns the least TCP_DELACK_MAX_US, which is two clock ticks
// (TCP_TIMEOUT_MIN in the kernel's include/net/tcp.h): 8 ms at 250 Hz. The first time
// it tries values on fd, and leaves the least there.
func shortestDelay(fd int) time.Duration {
	if known := shortest.Load(); known != 0 {
		return time.Duration(known) * time.Microsecond
	}
	// The kernel rounds up to clock ticks: 100 to 1000 in a second.
	for us := int64(1001); us <= 20_001; us += 1000 {
		if DelayedAckMax.set(fd, Value{Number: us}) == nil {
			least := delayedAckMax(fd)
			shortest.Store(uint32(least / time.Microsecond)) //nolint:gosec // at most 20 ms
			return least
		}
	}
	return 0
}

// delayedAckMax returns TCP_DELACK_MAX_US, or 0 where the socket has none. That is no
// error of Option.get, which would be an allocation for each stall.
func delayedAckMax(fd int) time.Duration {
	us, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, tcpDelackMaxUS)
	if err != nil {
		return 0
	}
	return time.Duration(us) * time.Microsecond
}

// leastStall is the shortest wait that may be a stall, as far as the Conn knows its timer.
func (c *Conn) leastStall() time.Duration {
	us := c.before
	if c.timer.Load() == timerShort {
		us = shortest.Load()
	}
	least, _ := stallOf(time.Duration(us) * time.Microsecond)
	return least
}

// stallOf returns which waits are like one for a delayed acknowledgement that comes
// after at most maximum, where 0 is the kernel's default.
//
// The kernel delays by 40 to 200 ms (TCP_DELACK_MIN and TCP_DELACK_MAX in its
// include/net/tcp.h), and by maximum where that is less. A clock tick, half of the least
// maximum, and the scheduler add to it.
func stallOf(maximum time.Duration) (least, most time.Duration) {
	const delackMin = 40 * time.Millisecond
	if maximum == 0 || maximum >= delackMin {
		return 30 * time.Millisecond, 300 * time.Millisecond
	}
	return maximum * 3 / 4, maximum * 7 / 4
}
