package probe

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Print writes reports for people: a table, a histogram of each experiment, and the
// verdicts. Several reports stand side by side in the table.
func Print(w io.Writer, reports ...*Report) error {
	var b strings.Builder
	for i, r := range reports {
		fmt.Fprintf(&b, "%s%s %s: %s, status %d", label(i, reports), r.Method, r.URL, r.Protocol, r.Status)
		if r.Location != "" {
			fmt.Fprintf(&b, ", a redirect to %s, which is not followed", r.Location)
		}
		if r.Server != "" {
			fmt.Fprintf(&b, ", from %s", r.Server)
		}
		if r.far() {
			fmt.Fprintf(&b, ", %s away", Duration(r.Path))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	table(&b, reports)
	for i, r := range reports {
		for _, e := range r.Experiments {
			if len(reports) > 1 && e.Note == "" {
				continue // histograms do not stand side by side
			}
			fmt.Fprintf(&b, "\n%s%d  %s", label(i, reports), e.Number, e.Name)
			if e.Note != "" {
				fmt.Fprintf(&b, ": %s", e.Note)
			}
			b.WriteString("\n")
			if len(reports) == 1 {
				e.histogram(&b)
			}
		}
	}
	for i, r := range reports {
		fmt.Fprintf(&b, "\n%sVerdict: %s. %s\n", label(i, reports), r.Verdict, strings.TrimSpace(r.Meaning+" "+r.Hidden))
		for _, line := range r.Evidence {
			fmt.Fprintf(&b, "  - %s\n", line)
		}
		if r.Fix != "" {
			fmt.Fprintf(&b, "\nFix: %s", r.Fix)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// label names a report among others.
func label(i int, reports []*Report) string {
	if len(reports) == 1 {
		return ""
	}
	return fmt.Sprintf("%c  ", 'A'+i)
}

func table(w io.Writer, reports []*Report) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "EXPERIMENT")
	for i := range reports {
		of := ""
		if len(reports) > 1 {
			of = string(rune('A'+i)) + ": "
		}
		fmt.Fprintf(t, "\t%sREQ/S\tP50\tP90\tP99\tMAX", of)
	}
	fmt.Fprintln(t)
	for _, e := range made(reports) {
		var cells strings.Builder
		for _, r := range reports {
			result := r.result(e.Number)
			if len(result.Seconds) == 0 {
				cells.WriteString("\t–\t–\t–\t–\t–")
				continue
			}
			fmt.Fprintf(&cells, "\t%.1f\t%s\t%s\t%s\t%s", *result.RequestsPerSecond,
				Duration(*result.P50), Duration(*result.P90), Duration(*result.P99), Duration(*result.Max))
		}
		fmt.Fprintf(t, "%d  %s%s\n", e.Number, e.Name, &cells)
	}
	_ = t.Flush() // to a builder
}

// bounds are the upper ends of the histogram's buckets, in seconds. Those about a
// delayed acknowledgement's 40 and 200 ms are narrow.
var bounds = []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .035, .05, .1, .18, .25, .5, 1}

// barWidth is the longest bar, in characters.
const barWidth = 40

// histogram draws the buckets from the first to the last that has a request.
func (r Result) histogram(w io.Writer) {
	counts := make([]int, len(bounds)+1)
	first, last, most := len(bounds), 0, 0
	for _, s := range r.Seconds {
		i, _ := slices.BinarySearch(bounds, s)
		counts[i]++
		first, last, most = min(first, i), max(last, i), max(most, counts[i])
	}
	if most == 0 {
		return
	}
	for i := first; i <= last; i++ {
		label := "more"
		if i < len(bounds) {
			label = "≤ " + Duration(bounds[i])
		}
		bar := (counts[i]*barWidth + most - 1) / most
		fmt.Fprintf(w, "  %10s %4d %s\n", label, counts[i], strings.Repeat("█", bar))
	}
}

// Duration writes seconds in the unit that fits: 44ms, 82.54µs.
func Duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}

// mostText is how many characters of a text from the network are printed.
const mostText = 300

// printable returns s as it may be printed: without what a terminal could take for a
// command or for a change of the writing direction, and of a sane length.
func printable(s string) string {
	short := fmt.Sprintf("%.*s", mostText, s)
	quoted := strconv.Quote(short)
	quoted = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(quoted[1 : len(quoted)-1]) // these are printable
	if len(short) < len(s) {
		quoted += "…"
	}
	return quoted
}
