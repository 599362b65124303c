package probe

import "fmt"

// Report is what a run found.
type Report struct {
	URL      string `json:"url"`
	Method   string `json:"method"`
	Status   int    `json:"status"`             // of the last response
	Location string `json:"location,omitempty"` // of a redirect, which is not followed
	Server   string `json:"server,omitempty"`   // as the server names itself

	Experiments []Result `json:"experiments"`

	Verdict  Verdict  `json:"verdict"`
	Evidence []string `json:"evidence"`
}

// Verdict is what a server does.
type Verdict string

// The verdicts.
const (
	NoStall    Verdict = "no stall"
	Nagle      Verdict = "server-side Nagle"
	DelayedAck Verdict = "server-side delayed ACK"
	Both       Verdict = "server-side Nagle and server-side delayed ACK"
	OtherSlow  Verdict = "slow for another reason"
)

// Stalls reports whether the server stalls.
func (v Verdict) Stalls() bool { return v == Nagle || v == DelayedAck || v == Both }

// A delayed acknowledgement comes after 40 to 200 ms, or 500 at the most (RFC 1122).
const (
	timerLeast = 0.025 // seconds
	timerMost  = 0.55
)

// judge compares the experiments that differ in one thing.
func (r *Report) judge() {
	nagle := r.compare(2, 3, "acknowledges at once")
	delayed := r.compare(4, 5, "has TCP_NODELAY on the client's side")
	switch {
	case nagle && delayed:
		r.Verdict = Both
	case nagle:
		r.Verdict = Nagle
	case delayed:
		r.Verdict = DelayedAck
	case r.slow():
		r.Verdict = OtherSlow
	default:
		r.Verdict = NoStall
	}
	if len(r.Evidence) == 0 {
		r.Evidence = []string{"the server closes each connection after one response, so that no request waits for another's acknowledgement"}
	}
}

// compare reports whether experiment a waits for a timer where b does not, which
// differs from it in one thing, and adds the evidence.
func (r *Report) compare(a, b int, difference string) bool {
	slow, quick := r.result(a), r.result(b)
	if len(slow.Seconds) == 0 {
		return false
	}
	against, how := quick, "which "+difference
	if len(quick.Seconds) == 0 { // no TCP_QUICKACK here
		against, how = r.result(1), "with a connection for each request"
	}
	if len(against.Seconds) == 0 {
		return false
	}
	base := quantile(against.Seconds, .5)
	waits, others := timed(slow.Seconds, base), timed(against.Seconds, base)
	share := float64(len(waits)) / float64(len(slow.Seconds))
	stalls := len(waits) >= 3 && share >= 0.1 && float64(len(others))/float64(len(against.Seconds)) <= share/4 && alike(waits)
	switch {
	case stalls:
		r.Evidence = append(r.Evidence, fmt.Sprintf("%d of %d requests of experiment %d waited some %s more than those of experiment %d (median %s), %s",
			len(waits), len(slow.Seconds), a, Duration(quantile(waits, .5)), against.Number, Duration(base), how))
	default:
		r.Evidence = append(r.Evidence, fmt.Sprintf("experiment %d takes %s (median), experiment %d, %s, %s",
			a, Duration(slow.P50), against.Number, how, Duration(base)))
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

// alike reports whether waits are those of a timer: most are much the same. A timer
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
	for _, number := range []int{3, 5, 2} {
		if e := r.result(number); len(e.Seconds) > 0 {
			return e.P50 >= timerLeast
		}
	}
	return r.result(1).P50 >= timerLeast
}

func (r *Report) result(number int) Result {
	for _, e := range r.Experiments {
		if e.Number == number {
			return e
		}
	}
	return Result{}
}

// Mend says what to do, with the lines of a Caddyfile that do it.
func (r *Report) Mend() string {
	const (
		onServer = `on the server, set TCP_NODELAY, or write the header and the body of a response
together. Where nobody may change it, put Caddy with caddy-sockopt in front of it:

	reverse_proxy HOST:PORT {
		transport sockopt
	}
`
		onCaddy = `the server holds its acknowledgements back, as the kernel has it, and a client
with Nagle's algorithm on that sends a request in pieces waits for them. Caddy with
caddy-sockopt, as the server or in front of it, acknowledges in time:

	{
		servers {
			listener_wrappers {
				sockopt
			}
		}
	}
`
	)
	switch r.Verdict {
	case Nagle:
		return onServer
	case DelayedAck:
		return onCaddy
	case Both:
		return onServer + "\nand " + onCaddy
	case OtherSlow:
		return "neither TCP_NODELAY nor TCP_QUICKACK changes it: look at the handler, its backends, and the path.\n"
	case NoStall:
	}
	return ""
}
