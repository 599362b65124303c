package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report is what a run found. Texts of the server have no character that is not printable.
type Report struct {
	URL      string `json:"url"` // without user and password
	Method   string `json:"method"`
	Protocol string `json:"protocol"`           // HTTP/1.1 or HTTP/2
	Status   int    `json:"status"`             // of the last response
	Location string `json:"location,omitempty"` // of a redirect, which is not followed
	Server   string `json:"server,omitempty"`   // the server's name for itself

	// Path is how long a round trip takes, in seconds. One connection in four opened in
	// that time.
	Path float64 `json:"path_seconds"`

	Experiments []Result `json:"experiments"`

	Verdict  Verdict  `json:"verdict"`
	Meaning  string   `json:"meaning"`          // who waits
	Hidden   string   `json:"hidden,omitempty"` // what cannot be told over this path
	Evidence []string `json:"evidence"`
	Fix      string   `json:"fix,omitempty"` // what to do, with a Caddyfile
}

// Verdict is what a server does: one of the constants, or Nagle, Behind, DelayedAck and AfterHandshake joined by "and".
type Verdict string

// The verdicts.
const (
	NoStall        Verdict = "no stall"
	Nagle          Verdict = "server-side Nagle"
	DelayedAck     Verdict = "server-side delayed ACK"
	Both           Verdict = Nagle + and + DelayedAck
	AfterHandshake Verdict = "delayed ACK after the handshake"
	Behind         Verdict = "probably a stall behind this server"
	OtherSlow      Verdict = "slow for another reason"
	Unclear        Verdict = "too few measurements to tell"
)

const and = " and "

func (v Verdict) has(one Verdict) bool { return strings.Contains(string(v), string(one)) }

// Waits reports whether ordinary requests wait.
func (v Verdict) Waits() bool { return v.has(Nagle) || v.has(Behind) }

// WaitsWithNagle reports whether a client with Nagle's algorithm on waits: on each new
// connection, or when it sends a request in pieces.
func (v Verdict) WaitsWithNagle() bool { return v.has(DelayedAck) || v.has(AfterHandshake) }

// Stalls reports whether a client waits.
func (v Verdict) Stalls() bool { return v.Waits() || v.WaitsWithNagle() }

// meaning says who waits.
func (v Verdict) meaning() string {
	switch v {
	case OtherSlow:
		return "Requests take long, but do not wait for a timer."
	case Unclear:
		return "The run was over before the requests that would tell."
	case NoStall:
		return "Nobody waits for a timer."
	default: // somebody waits
	}
	meaning, who := "Ordinary requests do not wait.", " Only a client with Nagle's algorithm on waits"
	if v.Waits() {
		meaning, who = "Ordinary requests wait for a timer.", " A client with Nagle's algorithm on waits once more"
	}
	switch {
	case v.has(AfterHandshake) && v.has(DelayedAck):
		meaning += who + " on every new connection, before its first request, and whenever it sends a request in pieces."
	case v.has(AfterHandshake):
		meaning += who + " on every new connection, before its first request."
	case v.has(DelayedAck):
		meaning += who + ", when it sends a request in pieces."
	}
	if v.has(AfterHandshake) {
		meaning += " Clients with TCP_NODELAY are spared, such as browsers and curl, and so are later requests of a connection."
	}
	return meaning
}

// A delayed acknowledgement comes after 40 to 200 ms, or 500 at the most (RFC 1122).
const (
	timerLeast = 0.025 // seconds
	timerMost  = 0.55
)

// farAway is a path, in seconds, on which packets may get lost.
const farAway = .001

// hiding is a path, in seconds, over which requests follow each other so late that the
// kernel of a proxy acknowledges at once what the backend sends: TCP_ATO_MIN in the
// kernel's include/net/tcp.h is 40 ms, and a client's own time comes on top.
const hiding = .035

// judge compares the experiments that differ in one thing.
func (r *Report) judge() {
	var found []string
	add := func(v Verdict, is bool) {
		if is {
			found = append(found, string(v))
		}
	}
	nagle := r.compare(keepAlive, ackAtOnce, .1, "which acknowledges at once")
	add(Nagle, nagle)
	// Where the time is not the client's acknowledgement's, a pause may still change it:
	// the kernel of a proxy acknowledges at once what comes after a pause.
	add(Behind, (!nagle || r.measured(ackAtOnce)) && r.behind())
	add(DelayedAck, r.compare(piecesNagle, piecesNoDelay, .1, "which has TCP_NODELAY on the client's side"))
	add(AfterHandshake, r.compare(freshNagle, freshNoDelay, .75, "which has TCP_NODELAY on the client's side"))
	r.Verdict = NoStall
	switch {
	case len(found) > 0:
		r.Verdict = Verdict(strings.Join(found, and))
	case r.slow():
		r.Verdict = OtherSlow
	case r.cut():
		r.Verdict = Unclear
	}
	r.Meaning = r.Verdict.meaning()
	if r.Path >= hiding && r.Verdict != Unclear {
		r.Hidden = fmt.Sprintf("Over a path of %s the probe cannot tell whether a backend behind this server stalls: probe from a machine near the server.", Duration(r.Path))
	}
	if len(r.Evidence) == 0 && r.result(keepAlive).err != nil {
		r.Evidence = []string{r.result(keepAlive).err.Error()}
	}
}

// prompt is the experiment whose requests wait for nothing of the client's, if the system has it.
func (r *Report) prompt() int {
	if r.measured(ackAtOnce) {
		return ackAtOnce
	}
	return keepAlive
}

// behind reports whether requests wait for a timer that is neither this client's nor this connection's.
func (r *Report) behind() bool {
	if !r.waits() {
		return false
	}
	a := r.prompt()
	return r.compare(a, ackAfterPause, manyWait, "whose requests follow a pause, after which a kernel acknowledges at once") ||
		!r.far() && r.compare(a, newConns, .5, "with a connection for each request")
}

// manyWait is the least share of requests that wait for a timer behind the server. A proxy
// with several connections to the backend has some that do not wait.
const manyWait = .3

// waits reports whether many requests take as long as a timer although the client acknowledges at once.
func (r *Report) waits() bool {
	return r.Path < hiding && r.wait()-float64(r.result(r.prompt()).trips)*r.Path >= timerLeast
}

// wait is how long those of the requests take that wait, if many do.
func (r *Report) wait() float64 { return quantile(r.result(r.prompt()).Seconds, 1-manyWait) }

// pause is how long the client waits before each request of ackAfterPause. Linux delays acknowledgements once it has
// taken a request for a reply to what it received before: one that is written within twice the time between two
// segments (icsk_ack.ato, in tcp_event_data_sent of the kernel's net/ipv4/tcp_output.c and tcp_event_data_recv of its
// net/ipv4/tcp_input.c). A longer pause tells no more, and lets the machine sleep.
func (r *Report) pause() time.Duration {
	return min(mostPause, time.Duration(3*r.wait()*float64(time.Second)))
}

// compare reports whether experiment a waits for a timer where b does not, which differs from it in one thing, and
// adds the evidence. At least a share of the requests has to wait.
func (r *Report) compare(a, b int, least float64, how string) bool {
	slow, quick := r.result(a), r.result(b)
	if len(quick.Seconds) == 0 && b == ackAtOnce { // no TCP_QUICKACK here
		quick, how = r.result(newConns), "with a connection for each request"
	}
	if len(slow.Seconds) == 0 || len(quick.Seconds) == 0 {
		return false
	}
	whole := b == ackAtOnce // a server that has Nagle's algorithm on holds the end of a response
	slowTimes, quickTimes := r.beyond(slow, !whole), r.beyond(quick, !whole)
	base := quantile(quickTimes, r.typical())
	if r.far() {
		least = .75
		how += fmt.Sprintf(", beyond the path's round trips of %s", Duration(r.Path))
	}
	if base >= timerLeast {
		least = .8 // these are slow already, and their noise is as long as a timer
	}
	waits, others := timed(slowTimes, base), timed(quickTimes, base)
	share, otherShare := float64(len(waits))/float64(len(slow.Seconds)), float64(len(others))/float64(len(quick.Seconds))
	noise := share / 4 // of a busy machine, which both have
	if share >= .5 {
		noise = share / 2
	}
	stalls := len(waits) >= 3 && share >= least
	switch {
	case !r.far():
		stalls = stalls && otherShare <= noise && alike(waits)
	case whole:
		stalls = stalls && r.halts(quick)
	}
	if stalls {
		r.Evidence = append(r.Evidence, fmt.Sprintf("%d of %d requests of experiment %d took about %s longer than those of experiment %d (median %s), %s",
			len(waits), len(slow.Seconds), a, Duration(quantile(waits, .5)), quick.Number, Duration(quick.median()), how))
	} else {
		r.Evidence = append(r.Evidence, fmt.Sprintf("experiment %d takes %s (median), experiment %d, %s, %s",
			a, Duration(slow.median()), quick.Number, how, Duration(quick.median())))
	}
	return stalls
}

// beyond is how long requests took beyond what the path takes. A path is no stall: Nagle's algorithm waits for a
// round trip even where each segment is acknowledged at once. Over a far path the rest of a response comes slowly by
// itself, so that only the first byte tells where that is enough.
func (r *Report) beyond(e Result, firstByte bool) []float64 {
	times := slices.Clone(e.Seconds)
	if firstByte && r.far() {
		times = slices.Clone(e.firsts)
	}
	for i := range times {
		times[i] -= float64(e.trips) * r.Path
	}
	return times
}

// far reports whether packets may get lost on the path.
func (r *Report) far() bool { return r.Path >= farAway }

// typical is which of the times of an experiment, in order, stands for those that nothing
// held up. Where a packet got lost, a timer's time goes by, and for some while the server
// sends less at a time and needs more round trips: the shorter times tell.
func (r *Report) typical() float64 {
	if r.far() {
		return .25
	}
	return .5
}

// halts reports whether most responses stop for a round trip, which Nagle's algorithm makes
// them do even where each segment is acknowledged at once. A server that sends less at a
// time because packets got lost does so in one experiment more than in another.
func (r *Report) halts(e Result) bool {
	rest := slices.Clone(e.Seconds)
	for i := range rest {
		rest[i] -= e.firsts[i]
	}
	return quantile(rest, r.typical()) >= .9*r.Path
}

// timed returns the waits beyond base that are as long as a timer's.
func timed(seconds []float64, base float64) (waits []float64) {
	for _, s := range seconds {
		if wait := s - base; wait >= timerLeast && wait <= timerMost {
			waits = append(waits, wait)
		}
	}
	return waits
}

// alike reports whether most waits are much the same, like those of a timer, which
// waits for as long each time, or for a multiple of it where a response waits twice.
func alike(waits []float64) bool {
	middle := quantile(waits, .5)
	same := 0
	for _, w := range waits {
		if w > middle/1.5 && w < middle*1.5 {
			same++
		}
	}
	return float64(same) >= 0.6*float64(len(waits))
}

// slow reports whether requests take long that wait for no timer.
func (r *Report) slow() bool {
	for _, number := range []int{ackAtOnce, piecesNoDelay, keepAlive, newConns} {
		if r.measured(number) {
			return quantile(r.beyond(r.result(number), true), r.typical()) >= timerLeast
		}
	}
	return false
}

// cut reports whether the budget has left too few requests of an experiment that the verdict needs.
func (r *Report) cut() bool {
	return slices.ContainsFunc(r.Experiments, func(e Result) bool {
		return !e.pipelined && !e.paused && len(e.Seconds) < 3 && (errors.Is(e.err, errBudget) || e.err == nil)
	})
}

func (r *Report) measured(number int) bool { return len(r.result(number).Seconds) > 0 }

func (r *Report) result(number int) Result {
	if i := slices.IndexFunc(r.Experiments, func(e Result) bool { return e.Number == number }); i >= 0 {
		return r.Experiments[i]
	}
	return Result{}
}
