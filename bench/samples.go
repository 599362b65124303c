//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// record is all that a run measured: RESULTS.md and the pictures are made of
// nothing else.
type record struct {
	Command  string            `json:"command"`
	Quick    bool              `json:"quick"`
	Date     string            `json:"date"`
	Seconds  float64           `json:"seconds"`
	Machine  machine           `json:"machine"`
	Versions []version         `json:"versions"`
	Missing  []string          `json:"missing"` // peers that were left out
	Rows     []int             `json:"rows"`    // that were measured
	Notes    map[string]string `json:"notes"`   // text that was collected, such as profiles
	Samples  []*series         `json:"samples"` // in the order of their first values
	index    map[[4]string]*series
}

// series is what one measure of one system came to, round after round.
type series struct {
	Row     int       `json:"row"`
	Case    string    `json:"case"`
	System  string    `json:"system"`
	Measure string    `json:"measure"`
	Values  []float64 `json:"values"`
}

func newRecord(s settings) *record {
	return &record{
		Command: s.command, Quick: s.quick, Date: time.Now().UTC().Format(time.DateTime) + " UTC",
		Machine: thisMachine(), Notes: make(map[string]string), index: make(map[[4]string]*series),
	}
}

func seriesKey(row int, kase, system, measure string) [4]string {
	return [4]string{fmt.Sprint(row), kase, system, measure}
}

// add appends measured values.
func (r *record) add(row int, kase, system, measure string, values ...float64) {
	key := seriesKey(row, kase, system, measure)
	s := r.index[key]
	if s == nil {
		s = &series{Row: row, Case: kase, System: system, Measure: measure}
		r.index[key] = s
		r.Samples = append(r.Samples, s)
	}
	s.Values = append(s.Values, values...)
}

// of returns the values that were measured, or none.
func (r *record) of(row int, kase, system, measure string) []float64 {
	if s := r.index[seriesKey(row, kase, system, measure)]; s != nil {
		return s.Values
	}
	return nil
}

// cases returns the cases of a row in the order in which they were measured.
func (r *record) cases(row int) []string {
	return r.distinct(func(s *series) (string, bool) { return s.Case, s.Row == row })
}

// systems returns the systems that were measured in a case of a row.
func (r *record) systems(row int, kase string) []string {
	return r.distinct(func(s *series) (string, bool) { return s.System, s.Row == row && s.Case == kase })
}

func (r *record) distinct(name func(*series) (string, bool)) []string {
	var names []string
	for _, s := range r.Samples {
		if n, ok := name(s); ok && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

const samplesFile = "samples.json"

// write saves the record in dir.
func (r *record) write(dir string) error {
	for _, s := range r.Samples {
		for i, v := range s.Values {
			s.Values[i] = round(v)
		}
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, samplesFile), append(oneLine(text), '\n'), 0o600)
}

// rescue saves what a run measured before it failed, beside no results.
func (r *record) rescue() error {
	if r == nil || len(r.Rows) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp("", "bench-failed")
	if err != nil {
		return err
	}
	log.Printf("what was measured is in %s", dir)
	return r.write(dir)
}

// oneLine puts the values of each series on one line.
func oneLine(text []byte) []byte {
	var b strings.Builder
	within := false
	for line := range strings.SplitSeq(string(text), "\n") {
		bare := strings.TrimSpace(line)
		switch {
		case strings.HasSuffix(bare, `"values": [`), strings.HasSuffix(bare, `"rows": [`):
			within = true
			b.WriteString(line)
			continue
		case within:
			b.WriteString(strings.Replace(bare, ",", ", ", 1))
			if !strings.HasPrefix(bare, "]") {
				continue
			}
			within = false
		default:
			b.WriteString(line)
		}
		b.WriteByte('\n')
	}
	return []byte(strings.TrimRight(b.String(), "\n"))
}

// round keeps six digits, more than any figure has.
func round(v float64) float64 {
	if v == 0 {
		return 0
	}
	scale := math.Pow(10, 5-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

// readRecord returns what was saved in dir.
func readRecord(dir string) (*record, error) {
	text, err := os.ReadFile(filepath.Join(dir, samplesFile)) //nolint:gosec // the file that write wrote
	if err != nil {
		return nil, err
	}
	r := &record{index: make(map[[4]string]*series)}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, err
	}
	for _, s := range r.Samples {
		r.index[seriesKey(s.Row, s.Case, s.System, s.Measure)] = s
	}
	return r, nil
}

// quantile returns the value that a share q of the values is below: between two of
// them, the one in between.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	place := q * float64(len(sorted)-1)
	below := int(place)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (place-float64(below))*(sorted[above]-sorted[below])
}

func median(values []float64) float64 { return quantile(values, .5) }

// confidence returns the values between which the true median is in 95 of 100 runs at
// least, whatever the values' distribution, as long as rounds know nothing of each other:
// each value is below the median as a fair coin falls. Less than six values do not tell.
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

// ratios divides measurements of the same rounds, but where the other was nothing.
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
