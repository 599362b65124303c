package probe

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Experiment is one way to send requests.
type Experiment struct {
	Number int    `json:"number"`
	Name   string `json:"name"`

	trips     int  // round trips that each time has in it, beside those of opening a connection
	newConns  bool // for each request
	fresh     bool // timed from the client's Finished to the first byte of the response; https only
	ackAtOnce bool // the client acknowledges at once what it receives
	pieces    bool // a request leaves in three writes
	nagle     bool // on the client's side
	pipelined bool // all requests are sent before any is answered
	mayFail   bool // not every server can do it
	warmUp    int  // requests before those that are timed
	most      int  // timed requests, however many are asked for
	paused    bool // the client pauses before each request; made only where requests wait
}

// The numbers of the experiments.
const (
	newConns = iota + 1
	keepAlive
	ackAtOnce
	piecesNagle
	piecesNoDelay
	pipelined
	ackAfterPause
	freshNagle
	freshNoDelay
)

var experiments = []Experiment{
	{Number: newConns, Name: "new connections", trips: 2, newConns: true},
	{Number: keepAlive, Name: "keep-alive", warmUp: warmUp, trips: 1},
	{Number: ackAtOnce, Name: "keep-alive, acknowledging at once", warmUp: warmUp, trips: 1, ackAtOnce: true},
	{Number: piecesNagle, Name: "in pieces, Nagle on", warmUp: warmUp, trips: 2, pieces: true, nagle: true},
	{Number: piecesNoDelay, Name: "in pieces, TCP_NODELAY", warmUp: warmUp, trips: 1, pieces: true},
	{Number: pipelined, Name: "pipelined", warmUp: fewest, pipelined: true, mayFail: true},
	{Number: ackAfterPause, Name: "acknowledging at once, with pauses", warmUp: warmUp, trips: 1, ackAtOnce: true, paused: true, mayFail: true, most: paused},
	{Number: freshNagle, Name: "after the handshake, Nagle on", trips: 2, newConns: true, fresh: true, nagle: true, mayFail: true, most: fresh},
	{Number: freshNoDelay, Name: "after the handshake, TCP_NODELAY", trips: 1, newConns: true, fresh: true, mayFail: true, most: fresh},
}

// made are the experiments of which one of the reports has a result.
func made(reports []*Report) []Experiment {
	return slices.DeleteFunc(slices.Clone(experiments), func(e Experiment) bool {
		return !slices.ContainsFunc(reports, func(r *Report) bool { return r.result(e.Number).Number != 0 })
	})
}

// Result is what an experiment measured. What was not measured is nil.
type Result struct {
	Experiment

	// Seconds is how long each request took, in order: from its first byte, or from dialing a new connection, to the
	// last byte of its response. For pipelined requests it is the time since the previous response. After the
	// handshake it is the time from the client's Finished to the response's first byte.
	Seconds []float64 `json:"seconds"`

	RequestsPerSecond *float64 `json:"requests_per_second"`
	P50               *float64 `json:"p50_seconds"`
	P90               *float64 `json:"p90_seconds"`
	P99               *float64 `json:"p99_seconds"`
	Max               *float64 `json:"max_seconds"`

	// Note says why the experiment has fewer requests than it should, or none.
	Note string `json:"note,omitempty"`

	firsts []float64 // until the first byte of each response
	err    error
}

func (r *Result) add(took, first time.Duration) {
	r.Seconds = append(r.Seconds, took.Seconds())
	r.firsts = append(r.firsts, first.Seconds())
}

// sum fills in the figures of an experiment that should have so many requests.
func (r *Result) sum(requests int) {
	n := len(r.Seconds)
	switch {
	case r.err != nil && n > 0:
		r.Note = printable(fmt.Sprintf("%d of %d requests: %v", n, requests, r.err))
	case r.err != nil:
		r.Note = printable(r.err.Error())
	case n < requests:
		r.Note = fmt.Sprintf("%d of %d requests: its share of the run's time was used up", n, requests)
	}
	if n == 0 {
		return
	}
	var all float64
	for _, s := range r.Seconds {
		all += s
	}
	rate := float64(n) / all
	r.RequestsPerSecond = &rate
	for p, figure := range map[float64]**float64{.5: &r.P50, .9: &r.P90, .99: &r.P99, 1: &r.Max} {
		value := quantile(r.Seconds, p)
		*figure = &value
	}
}

func (r Result) median() float64 { return quantile(r.Seconds, .5) }

// quantile returns the smallest value that a share p of all does not exceed: 0 where there is none.
func quantile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(p*float64(len(sorted))))-1)]
}
