//go:build linux

package main

import (
	"bytes"
	"embed"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

const resultsFile = "RESULTS.md"

// section is what a row reports.
type section struct {
	Number   int
	Title    string
	Tables   []table
	Picture  *picture
	Verdicts []verdict
}

// verdict is how a figure compares with its bar.
type verdict struct {
	What, Got, Bar string
	Met            bool
	Noise          string // how far the figure may be off, where the bar is within that
}

func (v verdict) String() string {
	text := v.Bar + ": **missed**"
	if v.Met {
		text = v.Bar + ": met"
	}
	if v.Noise != "" {
		text += ", within the noise, " + v.Noise
	}
	return text
}

// atLeast holds a figure to a bar and returns the table's cell.
func (s *section) atLeast(what string, got, bar float64) string {
	return s.judge(verdict{what, number(got), "≥ " + number(bar), got >= bar, ""})
}

// typicallyAtLeast is atLeast for the median of values that differ from round to round.
func (s *section) typicallyAtLeast(what string, values []float64, bar float64) string {
	return s.typically(verdict{What: what, Bar: "≥ " + number(bar), Met: lab.Median(values) >= bar}, values, bar)
}

// typicallyAtMost is typicallyAtLeast for a figure that may not be more.
func (s *section) typicallyAtMost(what string, values []float64, bar float64) string {
	return s.typically(verdict{What: what, Bar: "≤ " + number(bar), Met: lab.Median(values) <= bar}, values, bar)
}

func (s *section) typically(v verdict, values []float64, bar float64) string {
	v.Got = threeDigits(lab.Median(values))
	if least, most := confidence(values); least < bar && bar <= most {
		v.Noise = threeDigits(least) + " to " + threeDigits(most)
	}
	return s.judge(v)
}

// atMost is atLeast for a figure that may not be more.
func (s *section) atMost(what string, got, bar float64) string {
	return s.judge(verdict{what, signed(got), "≤ " + number(bar), got <= bar, ""})
}

func (s *section) judge(v verdict) string {
	s.Verdicts = append(s.Verdicts, v)
	return v.String()
}

// compare adds the table of a row that compares in pairs with stock Caddy. As many have to
// be answered a second as the first bar says, for as much of the server's CPU time each as
// the second one says, which is a bar that the pace of the machine changes less.
func (s *section) compare(r *record, row int, bar, cpuBar float64) {
	t := newTable("case", "Caddy", "a second", "ratio to stock, quartiles of the pairs", "bar", "CPU µs each", "ratio to stock, quartiles", "bar")
	for _, kase := range r.cases(row) {
		for _, system := range r.systems(row, kase, rateMeasure) {
			rates, costs := r.Of(row, kase, system, rateMeasure), r.Of(row, kase, system, costMeasure)
			if system == stock {
				t.Title = fmt.Sprintf("In %d rounds:", len(rates))
				t.Row(kase, system, number(lab.Median(rates)), "–", "–", number(lab.Median(costs)), "–", "–")
				continue
			}
			ratio, cpuRatio := ratios(rates, r.Of(row, kase, stock, rateMeasure)), ratios(costs, r.Of(row, kase, stock, costMeasure))
			judged, cpuJudged := "–", "–"
			if system != stockAgain {
				what := fmt.Sprintf("%d, %s, `%s`: ", row, kase, system)
				judged = s.typicallyAtLeast(what+"as many a second, of stock Caddy's", ratio, bar)
				cpuJudged = s.typicallyAtMost(what+"CPU time each, of stock Caddy's", cpuRatio, cpuBar)
			}
			t.Row(kase, system, number(lab.Median(rates)), quartiles(ratio), judged, number(lab.Median(costs)), quartiles(cpuRatio), cpuJudged)
		}
	}
	s.Tables = append(s.Tables, t)
}

// table is a table in Markdown, with what stands above it.
type table struct {
	Title string
	*lab.Table
}

func newTable(header ...string) table { return table{Table: lab.NewTable(header...)} }

//go:embed *.tmpl
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"port":   lab.PortOf,
	"isRoot": func() bool { return os.Geteuid() == 0 },
	"listed": func(options []string) string { return "`" + strings.Join(options, "`, `") + "`" },
}).ParseFS(files, "*.tmpl"))

// render writes a file from a template.
func render(file, name string, values any) error {
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, name, values); err != nil {
		return err
	}
	return os.WriteFile(file, text.Bytes(), 0o600)
}

// report writes RESULTS.md and the pictures into dir.
func report(r *record, dir string) error {
	results := struct {
		*record
		Took                time.Duration
		Sections            []section
		Met, Bars           int
		BurstSize, Turns    int
		TenUsual, TenCostly []string
		PacketOptions       []string
	}{r, time.Duration(r.Seconds) * time.Second, nil, 0, 0, burstSize, burstTurns, lab.TenUsual, lab.TenCostly, packetOptions}
	for _, row := range rows {
		if !slices.Contains(r.Rows, row.number) {
			continue
		}
		s := row.report(r)
		s.Number, s.Title = row.number, row.title
		s.Tables = slices.DeleteFunc(s.Tables, func(t table) bool { return strings.Count(t.String(), "\n") == 2 }) // nothing was measured
		results.Sections = append(results.Sections, s)
		for _, v := range s.Verdicts {
			results.Bars++
			if v.Met {
				results.Met++
			}
		}
		if s.Picture != nil {
			if err := s.Picture.draw(dir); err != nil {
				return err
			}
		}
	}
	return render(filepath.Join(dir, resultsFile), "results.md.tmpl", results)
}

// number writes a figure with three or more digits.
func number(v float64) string {
	switch size := math.Abs(v); {
	case size >= 10_000:
		return humanize.Comma(int64(math.Round(v)))
	case size >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// threeDigits tell from a bar of two digits what rounds to it.
func threeDigits(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }

// signed writes a difference.
func signed(v float64) string {
	if math.Abs(v) < 10 {
		return strings.Replace(fmt.Sprintf("%+.3f", v), "-0.000", "+0.000", 1)
	}
	return fmt.Sprintf("%+.0f", v)
}

// quartiles writes the first, the second and the third, which is the spread.
func quartiles(values []float64) string {
	return threeDigits(lab.Quantile(values, .25)) + " / " + threeDigits(lab.Median(values)) + " / " + threeDigits(lab.Quantile(values, .75))
}

// spread writes the median, and the quartiles where they differ from it.
func spread(values []float64) string {
	middle, least, most := number(lab.Median(values)), number(lab.Quantile(values, .25)), number(lab.Quantile(values, .75))
	if least == middle && most == middle {
		return middle
	}
	return fmt.Sprintf("%s (%s – %s)", middle, least, most)
}
