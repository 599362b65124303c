package quickack

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	ms = time.Millisecond

	// short is the least timer of a kernel with 250 ticks in a second, and its own is kernels.
	// What it delays without being told it delays for delay.
	short, kernels, delay = 8 * ms, 200 * ms, 40 * ms

	rtt = 50 * time.Microsecond
)

// line is a connection with a Learner, on a clock of its own.
type line struct {
	Learner
	now   time.Duration
	timer time.Duration // TCP_DELACK_MAX_US, 0 where the kernel has none
	keep  bool          // the configuration sets it
	idle  time.Duration // for which bytes have waited in the kernel
	rtt   time.Duration

	acknowledged, wasted, patient, stalls int
	set, measured                         int // system calls
	clock                                 int // readings
}

func newLine(timer time.Duration) *line {
	l := &line{now: time.Second, timer: timer, rtt: rtt}
	l.Start(true)
	return l
}

// A step is one thing that happens on a connection.
type step func(l *line)

func pass(d time.Duration) step { return func(l *line) { l.now += d } }

func (l *line) time() time.Duration {
	l.clock++
	return l.now
}

func (l *line) count(d Decision) {
	if d&Wasted != 0 {
		l.wasted++
	}
	if d&BecamePatient != 0 {
		l.patient++
	}
}

// reads has the peer's bytes read.
func reads(l *line) {
	d := l.Read(l.time)
	l.count(d)
	if d&Measure == 0 {
		return
	}
	l.measured++
	_, d = l.Measured(l.now, Measurement{l.idle, l.rtt, l.rtt, l.timer})
	if d&Stalled != 0 {
		l.stalls++
	}
	l.count(d)
}

func parks(l *line) { l.parks(false) }

// parks reports whether the bytes that were read are acknowledged.
func (l *line) parks(unseen bool) bool {
	d := l.Park(unseen, l.time)
	if d&Shorten != 0 {
		before := l.timer
		if before == 0 || l.keep {
			l.Shortened(before, 0)
		} else {
			l.timer = short
			l.set++
			l.Shortened(before, short)
		}
	}
	if d&Restore != 0 {
		l.timer = l.Kernels()
		l.set++
	}
	if d&Acknowledge != 0 {
		l.acknowledged++
		l.set++
	}
	return d&Acknowledge != 0
}

func writes(l *line) { l.count(l.Wrote(l.time)) }

func held(hold bool) step { return func(l *line) { l.count(l.HoldBack(hold, l.time)) } }

func pushes(l *line) { l.count(l.Push(l.time)) }

// awaits parks, until a segment comes that Nagle's algorithm holds back.
func awaits(l *line) {
	if l.parks(false) {
		l.now += l.rtt
	} else {
		l.now += l.rtt + delayed(l)
	}
}

// delayed is how long the kernel delays an acknowledgement.
func delayed(l *line) time.Duration {
	if l.timer == 0 {
		return delay
	}
	return min(l.timer, delay)
}

// answered is a request in one piece, whose answer comes when the next read has been parked for d.
func answered(d time.Duration) []step { return []step{reads, parks, pass(d), writes, pass(ms)} }

// pieces is a request in two, of which the second comes after d, whatever is acknowledged.
func pieces(d time.Duration) []step {
	return []step{reads, parks, pass(d), reads, writes, pass(ms)}
}

func times(n int, steps ...[]step) []step { return slices.Repeat(slices.Concat(steps...), n) }

func TestLearning(t *testing.T) {
	whole, late, stall, long := answered(0), answered(short*2), pieces(short*5/4), pieces(delay)
	bulk := slices.Concat(times(19, []step{reads, parks, pass(rtt)}), []step{reads, awaits, reads, writes, pass(ms)})
	stream := times(8, []step{reads, parks, pass(3 * ms)})
	learned := times(4, whole)
	restored := slices.Concat(learned, times(5, late))
	trial := slices.Concat(learned, times(2, stall))
	keep := []step{func(l *line) { l.keep = true }}
	none := []step{func(l *line) { l.timer = 0 }}
	unseen := []step{func(l *line) { l.parks(true) }}

	type outcome struct {
		acknowledged, wasted, patient, stalls int
		timer                                 time.Duration
		state                                 string
	}
	for _, tc := range []struct {
		name  string
		steps []step
		want  outcome
	}{
		{"nothing", nil, outcome{0, 0, 0, 0, kernels, "eager"}},
		{"parks without bytes", []step{parks, parks}, outcome{0, 0, 0, 0, kernels, "eager"}},
		{"parks twice", []step{reads, parks, parks}, outcome{1, 0, 0, 0, kernels, "eager"}},
		{"a message is settled", []step{reads, func(l *line) { l.Settle() }, parks}, outcome{0, 0, 0, 0, kernels, "eager"}},
		{"a write comes first", []step{reads, writes, parks}, outcome{0, 0, 0, 0, kernels, "eager"}},
		{"a write is held back", []step{reads, held(true), writes, parks}, outcome{1, 0, 0, 0, kernels, "eager"}},
		{"what was held back is sent", []step{reads, held(true), writes, held(false), parks}, outcome{0, 0, 0, 0, kernels, "eager"}},
		{"what was held back is pushed", []step{reads, held(true), writes, pushes, parks}, outcome{0, 0, 0, 0, kernels, "eager"}},
		{"what is held back wastes nothing yet", []step{reads, parks, held(true), writes}, outcome{1, 0, 0, 0, kernels, "eager"}},
		{"and wastes once it is sent", []step{reads, parks, held(true), writes, held(false)}, outcome{1, 1, 0, 0, kernels, "eager"}},
		{"three wasted", times(3, whole), outcome{3, 3, 0, 0, kernels, "eager"}},
		{"four wasted", learned, outcome{4, 4, 1, 0, short, "patient"}},
		{"patient", times(40, whole), outcome{4, 4, 1, 0, short, "patient"}},
		{"bytes come next", times(20, pieces(0)), outcome{20, 0, 0, 0, kernels, "eager"}},
		{"the configuration sets the timer", slices.Concat(keep, times(40, whole)), outcome{4, 4, 1, 0, kernels, "patient"}},
		{"no timer to set", slices.Concat(none, times(40, whole)), outcome{4, 4, 1, 0, 0, "patient"}},
		{"no timer to set, and a stall", slices.Concat(none, learned, long), outcome{4, 4, 1, 1, 0, "on trial"}},
		{"answers are late", restored, outcome{4, 4, 1, 0, kernels, "patient"}},
		{"one answer in 40 is late", slices.Concat(learned, times(5, late, times(39, whole))), outcome{4, 4, 1, 0, short, "patient"}},
		{"one short stall", slices.Concat(learned, stall, learned), outcome{4, 4, 1, 1, short, "patient"}},
		{"two short stalls far apart", slices.Concat(learned, stall, times(40, whole), stall, learned), outcome{4, 4, 1, 2, short, "patient"}},
		{"two short stalls", slices.Concat(trial, learned), outcome{8, 8, 1, 2, short, "on trial"}},
		{"short stalls of a peer that does not seem to wait", slices.Concat(learned, times(20, pieces(0)), times(3, stall), learned), outcome{4, 4, 1, 3, short, "patient"}},
		{"one more", slices.Concat(learned, times(20, pieces(0)), times(4, stall), learned), outcome{8, 8, 1, 4, short, "on trial"}},
		{"segments at once, and a stall at the end", slices.Concat(learned, times(30, bulk)), outcome{4 + 28*20, 4, 1, 2, short, "on trial"}},
		{"after neither a short nor a long time", slices.Concat(learned, times(20, pieces(short*5/8)), times(2, stall), learned), outcome{8, 8, 1, 2, short, "on trial"}},
		{"a pause too long for the short timer", slices.Concat(learned, times(4, pieces(3*short)), learned), outcome{4, 4, 1, 0, short, "patient"}},
		{"one long stall", slices.Concat(restored, long, learned), outcome{8, 8, 1, 1, kernels, "on trial"}},
		{"a long stall, and the short timer again", slices.Concat(restored, long, times(30, whole)), outcome{28, 28, 2, 1, short, "patient"}},
		{"bytes were late in the kernel", slices.Concat(learned, []step{func(l *line) { l.idle = short }}, times(9, stall)), outcome{4, 4, 1, 0, short, "patient"}},
		{"an answer while a read is parked", slices.Concat(learned, times(9, []step{reads, parks, writes, pass(short), reads, writes})), outcome{4, 4, 1, 0, short, "patient"}},
		{"a deadline", slices.Concat(learned, times(9, []step{reads, parks, func(l *line) { l.Deadline() }, pass(short), reads, writes})), outcome{4, 4, 1, 0, short, "patient"}},
		{"answers that nobody sees", slices.Concat(learned, times(9, []step{reads}, unseen, []step{pass(short), reads, writes})), outcome{4, 4, 1, 0, short, "patient"}},
		{"a trial that does not help ends", slices.Concat(trial, times(10, pieces(short*5/4))), outcome{8, 8, 2, 2, short, "patient"}},
		{"after that it believes less", slices.Concat(trial, times(30, pieces(short*5/4))), outcome{12, 12, 3, 3, short, "patient"}},
		{"a trial that helps", slices.Concat(trial, pieces(rtt), times(24, whole), stall, times(40, whole)), outcome{69, 68, 2, 3, short, "on trial"}},
		{"a stream leaves the timer alone", stream, outcome{4, 4, 1, 0, kernels, "patient"}},
		{"until an answer", slices.Concat(stream, []step{writes}, whole), outcome{4, 4, 1, 0, short, "patient"}},
		{"a stream after short answers", slices.Concat(learned, stream, stream), outcome{4, 4, 1, 0, kernels, "patient"}},
		{"refused", []step{func(l *line) { l.TurnOff() }, reads, parks, pass(delay), reads}, outcome{0, 0, 0, 1, kernels, "off"}},
		{"off", slices.Concat([]step{func(l *line) { l.Start(false) }}, times(3, long)), outcome{0, 0, 0, 3, kernels, "off"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLine(kernels)
			for _, do := range tc.steps {
				do(l)
			}
			require.Equal(t, tc.want, outcome{l.acknowledged, l.wasted, l.patient, l.stalls, l.timer, l.State()})
		})
	}
}

// TestClockIsReadWhereItTells counts what a patient connection asks the clock in each request.
func TestClockIsReadWhereItTells(t *testing.T) {
	const requests = 100
	for name, tc := range map[string]struct {
		steps []step
		want  int
	}{
		"HTTP/1.1, whose next read parks after the answer":      {[]step{reads, writes, parks, pass(ms)}, 0},
		"TLS and HTTP/2, where one parks while a handler works": {[]step{reads, parks, writes, pass(ms)}, 2},
		"a peer whose bytes come one after the other":           {[]step{reads, parks, pass(ms)}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(kernels)
			for _, do := range slices.Concat(times(firstLeft, answered(0)), times(requests, tc.steps)) {
				do(l)
			}
			require.Equal(t, "patient", l.State())
			before := l.clock
			for _, do := range times(requests, tc.steps) {
				do(l)
			}
			require.Equal(t, requests*tc.want, l.clock-before)
		})
	}
}

// client is one that sends requests over one connection, and the server that answers. Over TLS and
// HTTP/2 the next read parks while a handler works.
type client struct {
	nth   int           // one request in so many comes in two pieces; 0 is none
	nagle bool          // the second waits until the first is acknowledged
	takes time.Duration // the handler
	busy  float64       // how often something takes milliseconds more, because a machine is busy
	flips bool          // pieces come when nothing is acknowledged, and whole requests otherwise
}

// outcome is what it cost, and how many pieces waited for the kernel's own timer and for a short one.
type outcome struct{ acknowledged, long, short int }

func (c client) run(l *line, r *rand.Rand, requests int) (o outcome) {
	path := func() time.Duration {
		if r.Float64() < c.busy {
			return time.Duration(r.Float64() * float64(20*ms))
		}
		return rtt + time.Duration(r.Float64()*float64(rtt))
	}
	for i := range requests {
		reads(l)
		if c.flips && l.State() == "patient" || c.nth > 0 && i%c.nth == 0 {
			acknowledged := l.parks(false)
			l.now += path()
			switch {
			case !c.nagle || acknowledged:
			case l.timer == short:
				l.now += short
				o.short++
			default:
				l.now += delay
				o.long++
			}
			reads(l)
		}
		parks(l)
		l.now += c.takes + path()
		writes(l)
		l.now += path()
	}
	o.acknowledged = l.acknowledged
	return o
}

// TestClients: what clients cost and how often they wait, at most, in 2000 requests. Those that never
// wait cost next to nothing, and those that do wait a few times.
func TestClients(t *testing.T) {
	const runs, requests, any = 20, 2000, 4000
	for _, tc := range []struct {
		name         string
		client       client
		tuned, fixed outcome // with a timer that can be shortened, and without
	}{
		{"whole", client{}, outcome{4, 0, 0}, outcome{4, 0, 0}},
		{"whole, slow backend", client{takes: 15 * ms}, outcome{4, 0, 0}, outcome{4, 0, 0}},
		{"whole, slower backend", client{takes: 100 * ms}, outcome{4, 0, 0}, outcome{4, 0, 0}},
		{"whole, busy machine", client{busy: .5}, outcome{4, 0, 0}, outcome{4, 0, 0}},
		{"each in pieces", client{nth: 1, nagle: true}, outcome{any, 0, 4}, outcome{any, 3, 0}},
		{"each third in pieces", client{nth: 3, nagle: true}, outcome{any, 0, 4}, outcome{any, 3, 0}},
		{"each twentieth in pieces", client{nth: 20, nagle: true}, outcome{any, 0, 4}, outcome{any, 3, 0}},
		{"each third in pieces, slow backend", client{nth: 3, nagle: true, takes: 15 * ms}, outcome{any, 1, 3}, outcome{any, 3, 0}},
		{"each third in pieces, busy machine", client{nth: 3, nagle: true, busy: .02}, outcome{any, 3, 6}, outcome{any, 3, 0}},
		{"each fiftieth in pieces", client{nth: 50, nagle: true}, outcome{8, 0, 40}, outcome{40, 40, 0}},
		{"pieces at once", client{nth: 1}, outcome{8, 0, 0}, outcome{8, 0, 0}},
		{"pieces at once, busy machine", client{nth: 1, busy: .02}, outcome{8, 0, 0}, outcome{8, 0, 0}},
		{"each third in pieces at once, busy machine", client{nth: 3, busy: .1}, outcome{8, 0, 0}, outcome{8, 0, 0}},
		{"flips", client{nagle: true, flips: true}, outcome{80, 0, requests}, outcome{80, requests, 0}},
	} {
		for timer, most := range map[time.Duration]outcome{kernels: tc.tuned, 0: tc.fixed} {
			t.Run(fmt.Sprintf("%s, timer %s", tc.name, timer), func(t *testing.T) {
				var worst outcome
				for seed := range uint64(runs) {
					got := tc.client.run(newLine(timer), rand.New(rand.NewPCG(seed, 0)), requests) //nolint:gosec // no secret
					worst = outcome{max(worst.acknowledged, got.acknowledged), max(worst.long, got.long), max(worst.short, got.short)}
				}
				t.Logf("%+v", worst)
				require.LessOrEqual(t, worst.acknowledged, most.acknowledged)
				require.LessOrEqual(t, worst.long, most.long)
				require.LessOrEqual(t, worst.short, most.short)
			})
		}
	}
}

// stream is a peer that sends messages and is not answered, or hardly.
type stream struct {
	each     time.Duration // between two messages
	rtt      time.Duration
	answered int  // one message in so many is answered; 0 is none
	pieces   bool // each message comes in two, the second when the first is acknowledged
}

// run sends for a minute. It returns how many messages came after the first second, and what they cost.
func (s stream) run(l *line) (messages, set, measured, stalls int) {
	l.rtt = s.rtt
	begin := l.now
	for i := 1; l.now < begin+time.Minute; i++ {
		if l.now >= begin+time.Second && messages == 0 {
			l.set, l.measured = 0, 0
		}
		if l.now >= begin+time.Second {
			messages++
		}
		next := l.now + s.each
		reads(l)
		if s.pieces {
			before := l.now
			awaits(l)
			if l.now > before+s.rtt {
				stalls++
			}
			reads(l)
		}
		parks(l)
		if s.answered > 0 && i%s.answered == 0 {
			l.now += s.each / 2
			writes(l)
		}
		l.now = max(l.now, next)
	}
	return messages, l.set, l.measured, stalls
}

// TestStreams: a peer that sends without an answer, and does not wait for acknowledgements, costs next
// to nothing after the first second: system calls for at most one message in twenty. Where each
// message comes in pieces the peer does wait, and goes on being acknowledged. Messages that come about
// a round trip after each other look as if acknowledgements helped.
func TestStreams(t *testing.T) {
	for _, timer := range []time.Duration{kernels, 0} {
		for _, path := range []time.Duration{rtt, 5 * ms, 30 * ms, 100 * ms} {
			for _, each := range []time.Duration{5 * ms, 10 * ms, 20 * ms, 33 * ms, 50 * ms, 100 * ms, 250 * ms, 500 * ms} {
				if each > path*3/4 && each <= path*3/2+grace {
					continue
				}
				for _, s := range []stream{{each, path, 0, false}, {each, path, 40, false}, {each, path, 3, false}, {each, path, 0, true}} {
					t.Run(fmt.Sprintf("%+v, timer %s", s, timer), func(t *testing.T) {
						l := newLine(timer)
						messages, set, measured, stalls := s.run(l)
						t.Logf("%d messages, %d set, %d measured, %d stalls", messages, set, measured, stalls)
						require.Zero(t, stalls)
						if s.pieces {
							require.Equal(t, "eager", l.State())
							return
						}
						require.Equal(t, "patient", l.State())
						require.LessOrEqual(t, set, messages/20)
						require.LessOrEqual(t, measured, messages/20)
						if s.answered == 0 {
							require.Equal(t, timer, l.timer)
						}
					})
				}
			}
		}
	}
}
