package probe

import (
	"math"
	"slices"
	"time"
)

// Experiment is one way to send requests. Each but the first and the last differs
// from the one before, or from the second, in one thing.
type Experiment struct {
	Number int    `json:"number"`
	Name   string `json:"name"`

	newConns  bool // for each request
	ackAtOnce bool // the client acknowledges what it receives at once
	pieces    bool // a request leaves in three writes
	nagle     bool // on the client's side
	pipelined bool // all requests are sent before any is answered
	mayFail   bool // a server need not be able to
}

var experiments = []Experiment{
	{Number: 1, Name: "new connections", newConns: true},
	{Number: 2, Name: "keep-alive"},
	{Number: 3, Name: "keep-alive, acknowledging at once", ackAtOnce: true},
	{Number: 4, Name: "in pieces, Nagle on", pieces: true, nagle: true},
	{Number: 5, Name: "in pieces, TCP_NODELAY", pieces: true},
	{Number: 6, Name: "pipelined", pipelined: true, mayFail: true},
}

// Result is what an experiment measured.
type Result struct {
	Experiment

	// Seconds is how long each request took, in order: from its first byte, or
	// from dialing a new connection, to the last byte of its response. Of
	// pipelined requests it is the time since the response before.
	Seconds []float64 `json:"seconds"`

	RequestsPerSecond float64 `json:"requests_per_second"`
	P50               float64 `json:"p50_seconds"`
	P90               float64 `json:"p90_seconds"`
	P99               float64 `json:"p99_seconds"`
	Max               float64 `json:"max_seconds"`

	// Note says why the experiment has fewer requests than it should, or none.
	Note string `json:"note,omitempty"`

	err error
}

func (r *Result) add(d time.Duration) { r.Seconds = append(r.Seconds, d.Seconds()) }

// sum fills in the figures.
func (r *Result) sum() {
	if r.err != nil {
		r.Note = r.err.Error()
	}
	if len(r.Seconds) == 0 {
		return
	}
	var all float64
	for _, s := range r.Seconds {
		all += s
	}
	r.RequestsPerSecond = float64(len(r.Seconds)) / all
	r.P50, r.P90, r.P99, r.Max = quantile(r.Seconds, .5), quantile(r.Seconds, .9), quantile(r.Seconds, .99), quantile(r.Seconds, 1)
}

// quantile returns the smallest value that a share p of all does not exceed.
func quantile(values []float64, p float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(p*float64(len(sorted))))-1)]
}
