//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
)

// record is all that a run measured: RESULTS.md and the pictures are made of nothing
// else.
type record struct {
	Command string  `json:"command"`
	Quick   bool    `json:"quick"`
	Date    string  `json:"date"`
	Seconds float64 `json:"seconds"`
	Facts   []fact  `json:"facts"`
	Rows    []int   `json:"rows"` // that were measured

	samples []*series // in the order of their first values
}

// series is what one measure of one system came to, round after round.
type series struct {
	Row     int       `json:"row"`
	Case    string    `json:"case"`
	System  string    `json:"system"`
	Measure string    `json:"measure"`
	Values  []float64 `json:"values"`
}

func (r *record) lookup(row int, kase, system, measure string) *series {
	for _, s := range r.samples {
		if s.Row == row && s.Case == kase && s.System == system && s.Measure == measure {
			return s
		}
	}
	return nil
}

// add appends a measured value.
func (r *record) add(row int, kase, system, measure string, value float64) {
	s := r.lookup(row, kase, system, measure)
	if s == nil {
		s = &series{Row: row, Case: kase, System: system, Measure: measure}
		r.samples = append(r.samples, s)
	}
	s.Values = append(s.Values, round(value))
}

// of returns the values that were measured, or none.
func (r *record) of(row int, kase, system, measure string) []float64 {
	if s := r.lookup(row, kase, system, measure); s != nil {
		return s.Values
	}
	return nil
}

// cases returns the cases of a row in the order in which they were measured.
func (r *record) cases(row int) (cases []string) {
	for _, s := range r.samples {
		if s.Row == row && !slices.Contains(cases, s.Case) {
			cases = append(cases, s.Case)
		}
	}
	return cases
}

// systems returns the systems that were measured in a case of a row.
func (r *record) systems(row int, kase string) (systems []string) {
	for _, s := range r.samples {
		if s.Row == row && s.Case == kase && !slices.Contains(systems, s.System) {
			systems = append(systems, s.System)
		}
	}
	return systems
}

// samplesFile has a JSON value on each line: the record, and then each series.
const samplesFile = "samples.jsonl"

// write saves the record in dir.
func (r *record) write(dir string) error {
	file, err := os.Create(filepath.Join(dir, samplesFile)) //nolint:gosec // where the command line says
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(file)
	err = encoder.Encode(r)
	for _, s := range r.samples {
		err = errors.Join(err, encoder.Encode(s))
	}
	return errors.Join(err, file.Close())
}

// readRecord returns what was saved in dir.
func readRecord(dir string) (*record, error) {
	file, err := os.Open(filepath.Join(dir, samplesFile)) //nolint:gosec // where the command line says
	if err != nil {
		return nil, err
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	r := new(record)
	if err := decoder.Decode(r); err != nil {
		return nil, err
	}
	for {
		s := new(series)
		if err := decoder.Decode(s); errors.Is(err, io.EOF) {
			return r, nil
		} else if err != nil {
			return nil, err
		}
		r.samples = append(r.samples, s)
	}
}

// round keeps six digits, more than any figure has.
func round(v float64) float64 {
	if v == 0 {
		return 0
	}
	scale := math.Pow(10, 5-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

// confidence returns the values between which the true median is in 95 of 100 runs at
// least, whatever the values' distribution, as long as rounds are independent of each
// other: each value is below the median as a fair coin falls. Less than six values do not
// tell.
func confidence(values []float64) (least, most float64) {
	sorted := slices.Sorted(slices.Values(values))
	below := -1
	fewer, exactly := 0.0, math.Pow(.5, float64(len(sorted))) // chances that so many are below the median
	for fewer+exactly <= .025 {
		below++
		fewer += exactly
		exactly *= float64(len(sorted)-below) / float64(below+1)
	}
	if below < 0 {
		return math.NaN(), math.NaN()
	}
	return sorted[below], sorted[len(sorted)-1-below]
}

// ratios divides measurements of the same rounds, except where the other was nothing.
func ratios(ours, theirs []float64) []float64 {
	var quotients []float64
	for i, v := range ours {
		if i < len(theirs) && theirs[i] != 0 {
			quotients = append(quotients, v/theirs[i])
		}
	}
	return quotients
}

// beside returns the ratios of a system to stock Caddy, round by round, and none for
// stock Caddy itself.
func (r *record) beside(row int, kase, system, measure string) []float64 {
	if system == stock {
		return nil
	}
	return ratios(r.of(row, kase, system, measure), r.of(row, kase, stock, measure))
}
