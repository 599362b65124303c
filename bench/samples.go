//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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

	Samples []*series `json:"samples"` // in the order of their first values
}

// series is what one measure of one system came to, round after round.
type series struct {
	Row     int       `json:"row"`
	Case    string    `json:"case"`
	System  string    `json:"system"`
	Measure string    `json:"measure"`
	Values  []float64 `json:"values"`
}

// series returns what was measured, or nil.
func (r *record) series(row int, kase, system, measure string) *series {
	for _, s := range r.Samples {
		if s.Row == row && s.Case == kase && s.System == system && s.Measure == measure {
			return s
		}
	}
	return nil
}

// add appends a measured value.
func (r *record) add(row int, kase, system, measure string, value float64) {
	s := r.series(row, kase, system, measure)
	if s == nil {
		s = &series{Row: row, Case: kase, System: system, Measure: measure}
		r.Samples = append(r.Samples, s)
	}
	// Six digits are more than any figure has.
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(value, 'g', 6, 64), 64)
	s.Values = append(s.Values, rounded)
}

// Of returns the values that were measured, or none.
func (r *record) Of(row int, kase, system, measure string) []float64 {
	if s := r.series(row, kase, system, measure); s != nil {
		return s.Values
	}
	return nil
}

// cases returns the cases of a row in the order in which they were measured.
func (r *record) cases(row int) (cases []string) {
	for _, s := range r.Samples {
		if s.Row == row && !slices.Contains(cases, s.Case) {
			cases = append(cases, s.Case)
		}
	}
	return cases
}

// systems returns the systems of which something was measured in a case of a row.
func (r *record) systems(row int, kase, measure string) (systems []string) {
	for _, s := range r.Samples {
		if s.Row == row && s.Case == kase && s.Measure == measure {
			systems = append(systems, s.System)
		}
	}
	return systems
}

// replace puts rows that were measured later in the place of its own, with what differs
// from its facts.
func (r *record) replace(later *record) {
	r.Samples = slices.DeleteFunc(r.Samples, func(s *series) bool { return slices.Contains(later.Rows, s.Row) })
	r.Samples = append(r.Samples, later.Samples...)
	for _, row := range later.Rows {
		of := fmt.Sprintf("row %d: ", row)
		r.Facts = slices.DeleteFunc(r.Facts, func(f fact) bool { return strings.HasPrefix(f.Name, of) })
		for _, f := range append([]fact{{"begun", later.Date}}, later.Facts...) {
			if !slices.Contains(r.Facts, f) {
				r.Facts = append(r.Facts, fact{of + f.Name, f.Value})
			}
		}
	}
	r.Rows = slices.Compact(slices.Sorted(slices.Values(append(r.Rows, later.Rows...))))
}

const samplesFile = "samples.json"

// write saves the record in dir, with a line for each series.
func (r *record) write(dir string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	text = bytes.ReplaceAll(text, []byte(`{"row":`), []byte("\n"+`{"row":`))
	return os.WriteFile(filepath.Join(dir, samplesFile), append(text, '\n'), 0o600)
}

// readRecord returns what was saved in dir.
func readRecord(dir string) (*record, error) {
	text, err := os.ReadFile(filepath.Join(dir, samplesFile)) //nolint:gosec // where the command line says
	if err != nil {
		return nil, err
	}
	r := new(record)
	return r, json.Unmarshal(text, r)
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
