// Package quickack decides when a connection acknowledges what it received, and learns whether its peer waits for that.
// It has no socket: events and their times go in, decisions come out.
package quickack

import (
	"cmp"
	"sync/atomic"
	"time"
)

// Learner is what a connection has learned about its peer. It begins eager: it acknowledges at each park with bytes
// owed. Where too many of these are wasted it becomes patient and leaves them to the kernel, whose timer it shortens
// first, and restores where replies keep coming later than the short one. Waits that look like stalls make it eager
// again, on trial: if the peer's bytes then come as soon as they are acknowledged, the peer did wait, and more may be
// wasted from now on.
//
// Times are those of any clock, now, for differences only, and never 0. The goroutine that reads calls the methods, and
// those that write may call Wrote, HoldBack, Push and State meanwhile.
type Learner struct {
	// parked is the time at which a read parked with bytes owed, otherwise 0.
	parked atomic.Int64

	short atomic.Uint32 // the kernel's timer in microseconds while it is short, and 0 otherwise
	left  atomic.Int32  // acknowledgements that may be wasted; below 1 the Learner is patient
	late  atomic.Int32  // grows with replies that came after the short timer, shrinks with those in time
	due   atomic.Uint32
	held  atomic.Uint32
	phase atomic.Uint32

	kernels   uint32 // the kernel's timer before it was shortened, in microseconds; 0 is unknown
	minRTT    uint32 // the least round trip when last measured, in microseconds
	rtt       uint32 // the usual one
	suspicion int32  // grows with waits that look like stalls, fades with parks
	trusted   uint8  // trials that were not refuted, up to mostTrusted
	refuted   uint8  // trials in a row in which acknowledging did not help, up to mostRefuted
	score     int8   // grows with acknowledgements that helped, shrinks with those that did not
	quick     uint8  // waits since a write that were short
	slow      uint8  // and those after which bytes came later, up to fewSlow
	tuned     bool   // the timer has been shortened, as far as that goes
	judging   bool   // Measured is asked about an acknowledgement
}

const (
	// Values of Learner.due: since the last write nothing was read; or bytes, whose acknowledgement
	// the kernel may be holding back for a reply to carry; or they were acknowledged at a park.
	nothing, owed, asked uint32 = 0, 1, 2

	// Values of Learner.held: what is written leaves; or may stay in the kernel; or has done so.
	sent, heldBack, unsent uint32 = 0, 1, 2

	// Values of Learner.phase.
	learning, onTrial, off uint32 = 0, 1, 2

	// How many acknowledgements are wasted before a Learner is patient, and how many in its first
	// trial. Each trial that is not refuted allows 16 times as many as before, up to 24 Mi.
	firstLeft, trialLeft, mostTrusted = 4, 24, 5

	// A busy machine, requests that overlap, and peers that take time to think sometimes look like a
	// stall. A stall of the short timer costs little, so the first trial takes two of them within 32
	// parks. After a trial that refuted them it takes 16 times as many.
	stallWeight, mostRefuted = 32, 4

	// Nagle's algorithm holds the second segment of a small message back. Where that comes at once,
	// though nothing was acknowledged, the peer hardly uses it: a trial takes up to two stalls more.
	fewQuick, quickWeight, leastSuspicion = 2, 16, -2 * stallWeight

	// An acknowledgement helped if bytes came about a round trip later. It did not if they came much
	// later, or so soon that they were on their way before. These count once, or twice after a long
	// wait, and those that helped twice: at -hopeless a Learner is patient.
	grace, long, hopeless = 2 * time.Millisecond, 100 * time.Millisecond, 4

	// What comes late again and again, and is not answered, waits for nobody: only so many waits
	// between two writes may be stalls, and after them the timer is left to the kernel.
	fewSlow = 2

	// A late reply weighs as much as lateWeight replies in time. Where one in 33 or more is late, the
	// kernel's own timer is restored: each late reply costs a segment.
	lateWeight, lateMost = 32, 4 * 32
)

// Decision is what a connection does or reports: any of these together.
type Decision uint8

const (
	Acknowledge   Decision = 1 << iota // send the acknowledgement that the kernel holds back, if any
	Shorten                            // shorten the kernel's timer as far as it goes, and call Shortened
	Restore                            // restore it to what Kernels says
	Measure                            // call Measured
	Timer                              // with Measurement.Timer
	Stalled                            // report a wait that looks like a stall
	Wasted                             // the acknowledgement that was asked for helped nobody
	BecamePatient                      // too many were wasted, and none is asked for from now on
)

// Start is called first. What does not acknowledge only watches for stalls.
func (l *Learner) Start(acknowledges bool) {
	l.left.Store(firstLeft)
	if !acknowledges {
		l.TurnOff()
	}
}

// TurnOff leaves all acknowledgements to the kernel from now on.
func (l *Learner) TurnOff() { l.phase.Store(off) }

// State returns "eager", "patient", "on trial", or "off".
func (l *Learner) State() string {
	switch phase := l.phase.Load(); {
	case phase == off:
		return "off"
	case l.left.Load() <= 0:
		return "patient"
	case phase == onTrial:
		return "on trial"
	}
	return "eager"
}

// Owes reports whether bytes were read since the last write, and not acknowledged at a park.
func (l *Learner) Owes() bool { return l.due.Load() == owed }

// Asked returns when the acknowledgement was asked for after which nothing has happened since, or 0.
func (l *Learner) Asked() time.Duration {
	if l.due.Load() != asked {
		return 0
	}
	return time.Duration(l.parked.Load())
}

// Settle says that the next write will carry the acknowledgement of what was read so far.
func (l *Learner) Settle() { l.due.Store(nothing) }

// Deadline says that a read that parked ended without bytes.
func (l *Learner) Deadline() { l.parked.Store(0) }

// HoldBack says whether what is written may stay in the kernel. A write then counts neither as
// carrying an acknowledgement nor as wasting one, until HoldBack(false).
func (l *Learner) HoldBack(held bool, now func() time.Duration) Decision {
	if held {
		l.held.CompareAndSwap(sent, heldBack)
	} else if l.held.Swap(sent) == unsent {
		return l.carries(now)
	}
	return 0
}

// Push says that what was held back is sent.
func (l *Learner) Push(now func() time.Duration) Decision {
	if l.held.CompareAndSwap(unsent, heldBack) {
		return l.carries(now)
	}
	return 0
}

// Wrote is called before a write.
func (l *Learner) Wrote(now func() time.Duration) Decision {
	if l.held.Load() == sent {
		return l.carries(now)
	}
	l.held.CompareAndSwap(heldBack, unsent)
	return 0
}

// carries is called when bytes leave, and with them the acknowledgement of what was read. If they are late, the short
// timer has already sent it.
func (l *Learner) carries(now func() time.Duration) Decision {
	if l.due.Load() == nothing {
		return 0
	}
	if l.due.Swap(nothing) == asked {
		if l.left.Add(-1) == 0 {
			return Wasted | BecamePatient
		}
		return Wasted
	}
	short, parked := l.short.Load(), time.Duration(l.parked.Load())
	switch {
	case short == 0 || parked == 0:
	case now()-parked > microseconds(short):
		l.late.Add(lateWeight)
	case l.late.Load() > 0:
		l.late.Add(-1)
	}
	return 0
}

// Park is called before the goroutine parks to wait for the peer's bytes. Where unseen, replies are sent that Wrote is
// not called for.
func (l *Learner) Park(unseen bool, now func() time.Duration) (d Decision) {
	phase, left := l.phase.Load(), l.left.Load()
	switch {
	case !l.Owes():
	case phase != off && left > 0:
		if left == 1 { // the short timer is there in time for the first stall
			d = l.tune()
		}
		if l.due.CompareAndSwap(owed, asked) { // otherwise a write came first
			d |= Acknowledge
			if !unseen {
				l.parked.Store(int64(now()))
			}
		}
	case !unseen:
		if phase != off {
			d = l.bePatient()
		}
		l.parked.Store(int64(now()))
	}
	return d
}

// bePatient is called at a park of a patient Learner.
func (l *Learner) bePatient() Decision {
	if l.phase.CompareAndSwap(onTrial, learning) {
		if l.score > 0 {
			l.refuted = 0
		} else {
			l.refuted = min(l.refuted+1, mostRefuted)
			l.trusted--
		}
	}
	if l.suspicion > 0 {
		l.suspicion--
	}
	return l.tune()
}

// tune sets the kernel's timer at a park, if need be.
func (l *Learner) tune() Decision {
	switch {
	case !l.tuned && l.slow < fewSlow:
		l.tuned = true
		return Shorten
	case l.late.Load() >= lateMost && l.short.Swap(0) > 0:
		return Restore
	}
	return 0
}

// Shortened says what the kernel's timer was, and what it is now: 0 if it stays as it was.
func (l *Learner) Shortened(kernels, short time.Duration) {
	l.kernels = uint32(kernels.Microseconds())  //nolint:gosec // at most 200 ms
	l.short.Store(uint32(short.Microseconds())) //nolint:gosec // at most kernels
}

// Kernels returns what the kernel's timer was before it was shortened.
func (l *Learner) Kernels() time.Duration { return microseconds(l.kernels) }

// Read is called when a read has bytes, parked or not.
func (l *Learner) Read(now func() time.Duration) (d Decision) {
	if parked := time.Duration(l.parked.Load()); parked != 0 {
		if d = l.waited(parked, now); d&Measure == 0 {
			l.parked.Store(0)
		}
	}
	if l.due.Swap(owed) == nothing {
		if 0 < l.quick && l.quick <= fewQuick {
			l.suspicion = max(l.suspicion-quickWeight, leastSuspicion)
		}
		l.quick, l.slow = 0, 0
	}
	return d
}

// waited is called when bytes came after a wait.
func (l *Learner) waited(parked time.Duration, now func() time.Duration) Decision {
	due := l.due.Load()
	if due == nothing { // a reply was written meanwhile
		return 0
	}
	wait := now() - parked
	prompt, stall := l.prompt(wait), wait-microseconds(l.minRTT)
	least, most := stallOf(microseconds(cmp.Or(l.short.Load(), l.kernels)))
	switch l.judging = due == asked; {
	case l.judging && prompt:
		return l.judge(wait)
	case l.judging:
		return Measure
	case !prompt && l.slow >= fewSlow:
		if l.short.Load() > 0 {
			l.late.Add(lateWeight)
		}
	case stall >= least && (stall <= most || l.minRTT == 0):
		l.slow++
		l.suspicion += stallWeight
		if l.refuted == 0 || l.suspicion > l.enough() {
			return Measure | Timer
		}
	case !prompt:
		l.slow++
	case l.short.Load() > 0:
		l.quick = min(l.quick+1, fewQuick+1)
	}
	return 0
}

// prompt reports whether bytes that came after a wait may have been sent for an acknowledgement: they
// came about a round trip later. On a short path others do so as well.
func (l *Learner) prompt(wait time.Duration) bool {
	return wait <= grace || wait >= microseconds(l.minRTT)*3/4 && wait <= microseconds(l.rtt)*3/2+grace
}

// judge is called when bytes came wait after an acknowledgement.
func (l *Learner) judge(wait time.Duration) Decision {
	switch {
	case l.prompt(wait):
		if wait >= microseconds(l.minRTT)*3/4 {
			l.score = min(l.score+2, hopeless)
		}
		return 0
	case wait >= long:
		l.score--
	}
	l.score--
	l.slow = min(l.slow+1, fewSlow)
	if l.score <= -hopeless && l.left.Swap(0) > 0 {
		return Wasted | BecamePatient
	}
	return Wasted
}

func microseconds(n uint32) time.Duration { return time.Duration(n) * time.Microsecond }

// Measurement is what the kernel says about a connection.
type Measurement struct {
	Idle   time.Duration // since bytes came: a busy process leaves them in the kernel
	MinRTT time.Duration // the least round trip, which the peer's own delayed acknowledgements do not raise
	RTT    time.Duration // and the usual one
	Timer  time.Duration // the kernel's, 0 where it has none of this connection
}

// Measured follows Measure; now is from before the question. It returns the wait, of a stall without the round trip.
func (l *Learner) Measured(now time.Duration, m Measurement) (wait time.Duration, d Decision) {
	wait = now - time.Duration(l.parked.Swap(0)) - m.Idle
	l.minRTT, l.rtt = uint32(m.MinRTT.Microseconds()), uint32(m.RTT.Microseconds()) //nolint:gosec // as in tcp_info
	if l.judging {
		return wait, l.judge(wait)
	}
	wait -= m.MinRTT
	switch least, most := stallOf(m.Timer); {
	case wait < least || wait > most:
		l.suspicion -= stallWeight
		return wait, 0
	case l.phase.Load() == off:
		l.suspicion = 0
	case l.suspicion > l.enough():
		l.try()
	}
	return wait, Stalled
}

// enough returns how much suspicion does not lead to a trial yet.
func (l *Learner) enough() int32 {
	if l.refuted == 0 && (l.trusted > 0 || l.short.Load() == 0) {
		return 0
	}
	return stallWeight << (4 * l.refuted)
}

// try begins a trial.
func (l *Learner) try() {
	l.phase.Store(onTrial)
	l.suspicion, l.score = 0, 0
	l.left.Store(trialLeft << (4 * l.trusted))
	l.trusted = min(l.trusted+1, mostTrusted)
	if l.short.Load() == 0 {
		l.tuned = false
		l.late.Store(0)
	}
}

// stallOf returns which waits are like one for a delayed acknowledgement that comes after at most maximum, where 0 is
// the kernel's default. The kernel delays by 40 to 200 ms (TCP_DELACK_MIN and TCP_DELACK_MAX in its include/net/tcp.h),
// and by maximum where that is less. A clock tick, half of the least maximum, and the scheduler add to it.
func stallOf(maximum time.Duration) (least, most time.Duration) {
	const delackMin = 40 * time.Millisecond
	if maximum == 0 || maximum >= delackMin {
		return 30 * time.Millisecond, 300 * time.Millisecond
	}
	return maximum * 3 / 4, maximum * 7 / 4
}
