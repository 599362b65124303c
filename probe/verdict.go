package probe

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Report is what a run found. Texts of the server have no character that is not
// printable.
type Report struct {
	URL      string `json:"url"` // without user and password
	Method   string `json:"method"`
	Protocol string `json:"protocol"`           // HTTP/1.1 or HTTP/2
	Status   int    `json:"status"`             // of the last response
	Location string `json:"location,omitempty"` // of a redirect, which is not followed
	Server   string `json:"server,omitempty"`   // the server's name for itself

	Experiments []Result `json:"experiments"`

	Verdict  Verdict  `json:"verdict"`
	Meaning  string   `json:"meaning"` // who waits
	Evidence []string `json:"evidence"`
	Fix      string   `json:"fix,omitempty"` // what to do, with a Caddyfile
}

// Verdict is what a server does: one of the constants, or Nagle, Behind and DelayedAck
// joined by "and".
type Verdict string

// The verdicts.
const (
	NoStall    Verdict = "no stall"
	Nagle      Verdict = "server-side Nagle"
	DelayedAck Verdict = "server-side delayed ACK"
	Both       Verdict = Nagle + and + DelayedAck
	Behind     Verdict = "probably a stall behind this server"
	OtherSlow  Verdict = "slow for another reason"
	Unclear    Verdict = "too few measurements to tell"
)

const and = " and "

func (v Verdict) has(one Verdict) bool { return strings.Contains(string(v), string(one)) }

// Waits reports whether ordinary requests wait.
func (v Verdict) Waits() bool { return v.has(Nagle) || v.has(Behind) }

// WaitsInPieces reports whether a client with Nagle's algorithm on waits that sends a
// request in pieces.
func (v Verdict) WaitsInPieces() bool { return v.has(DelayedAck) }

// Stalls reports whether a client waits.
func (v Verdict) Stalls() bool { return v.Waits() || v.WaitsInPieces() }

// meaning says who waits.
func (v Verdict) meaning() string {
	const inPieces = "a client with Nagle's algorithm on that sends a request in pieces"
	switch {
	case v.Waits() && v.WaitsInPieces():
		return "Ordinary requests wait for a timer, and " + inPieces + " waits once more."
	case v.Waits():
		return "Ordinary requests wait for a timer."
	case v.WaitsInPieces():
		return "Ordinary requests do not wait. Only " + inPieces + " would."
	case v == OtherSlow:
		return "Requests take long, but do not wait for a timer."
	case v == Unclear:
		return "The run was over before the requests that would tell."
	}
	return "Nobody waits for a timer."
}

// A delayed acknowledgement comes after 40 to 200 ms, or 500 at the most (RFC 1122).
const (
	timerLeast = 0.025 // seconds
	timerMost  = 0.55
)

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
	if len(r.Evidence) == 0 && r.result(keepAlive).err != nil {
		r.Evidence = []string{r.result(keepAlive).err.Error()}
	}
}

// prompt is the experiment whose requests wait for nothing of the client's, if the system
// has it.
func (r *Report) prompt() int {
	if r.measured(ackAtOnce) {
		return ackAtOnce
	}
	return keepAlive
}

// behind reports whether requests wait for a timer that is neither this client's nor this
// connection's.
func (r *Report) behind() bool {
	if !r.waits() {
		return false
	}
	a := r.prompt()
	return r.compare(a, ackAfterPause, manyWait, "whose requests follow a pause, after which a kernel acknowledges at once") ||
		r.compare(a, newConns, .5, "with a connection for each request")
}

// manyWait is the least share of requests that wait for a timer behind the server. A proxy
// with several connections to the backend has some that do not wait.
const manyWait = .3

// waits reports whether many requests take as long as a timer although the client
// acknowledges at once.
func (r *Report) waits() bool { return r.wait() >= timerLeast }

// wait is how long those of the requests take that wait, if many do.
func (r *Report) wait() float64 {
	seconds := r.result(r.prompt()).Seconds
	if len(seconds) == 0 {
		return 0
	}
	return quantile(seconds, 1-manyWait)
}

// pause is how long the client waits before each request of ackAfterPause. Linux delays
// acknowledgements once it has taken a request for a reply to what it received before:
// one that is written within twice the time between two segments (icsk_ack.ato, in
// tcp_event_data_sent of the kernel's net/ipv4/tcp_output.c and tcp_event_data_recv of its
// net/ipv4/tcp_input.c). A longer pause tells no more, and lets the machine sleep.
func (r *Report) pause() time.Duration {
	return min(mostPause, time.Duration(3*r.wait()*float64(time.Second)))
}

// compare reports whether experiment a waits for a timer where b does not, which
// differs from it in one thing, and adds the evidence. At least a share of the
// requests has to wait.
func (r *Report) compare(a, b int, least float64, how string) bool {
	slow, quick := r.result(a), r.result(b)
	if len(quick.Seconds) == 0 && b == ackAtOnce { // no TCP_QUICKACK here
		quick, how = r.result(newConns), "with a connection for each request"
	}
	if len(slow.Seconds) == 0 || len(quick.Seconds) == 0 {
		return false
	}
	base := quick.median()
	if base >= timerLeast {
		least = .8 // these are slow already, and their noise is as long as a timer
	}
	waits, others := timed(slow.Seconds, base), timed(quick.Seconds, base)
	share, otherShare := float64(len(waits))/float64(len(slow.Seconds)), float64(len(others))/float64(len(quick.Seconds))
	noise := share / 4 // of a busy machine, which both have
	if share >= .5 {
		noise = share / 2
	}
	stalls := len(waits) >= 3 && share >= least && otherShare <= noise && alike(waits)
	if stalls {
		r.Evidence = append(r.Evidence, fmt.Sprintf("%d of %d requests of experiment %d took about %s longer than those of experiment %d (median %s), %s",
			len(waits), len(slow.Seconds), a, Duration(quantile(waits, .5)), quick.Number, Duration(base), how))
	} else {
		r.Evidence = append(r.Evidence, fmt.Sprintf("experiment %d takes %s (median), experiment %d, %s, %s",
			a, Duration(slow.median()), quick.Number, how, Duration(base)))
	}
	return stalls
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
			return r.result(number).median() >= timerLeast
		}
	}
	return false
}

// cut reports whether the budget has left too few requests of an experiment that the verdict needs.
func (r *Report) cut() bool {
	for _, e := range r.Experiments {
		if e.Number <= piecesNoDelay && len(e.Seconds) < 3 && (errors.Is(e.err, errBudget) || e.err == nil) {
			return true
		}
	}
	return false
}

func (r *Report) measured(number int) bool { return len(r.result(number).Seconds) > 0 }

func (r *Report) result(number int) Result {
	for _, e := range r.Experiments {
		if e.Number == number {
			return e
		}
	}
	return Result{}
}
