package probe

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Print writes a report for people: a table, a histogram for each experiment, and
// the verdict.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: status %d", r.Method, r.URL, r.Status)
	if r.Location != "" {
		fmt.Fprintf(&b, ", a redirect to %s, which is not followed", r.Location)
	}
	if r.Server != "" {
		fmt.Fprintf(&b, ", from %s", r.Server)
	}
	b.WriteString("\n\n")
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "EXPERIMENT\tREQ/S\tP50\tP90\tP99\tMAX")
	for _, e := range r.Experiments {
		if len(e.Seconds) == 0 {
			fmt.Fprintf(t, "%d  %s\t–\t–\t–\t–\t–\n", e.Number, e.Name)
			continue
		}
		fmt.Fprintf(t, "%d  %s\t%.1f\t%s\t%s\t%s\t%s\n", e.Number, e.Name, e.RequestsPerSecond,
			Duration(e.P50), Duration(e.P90), Duration(e.P99), Duration(e.Max))
	}
	_ = t.Flush() // to a builder
	for _, e := range r.Experiments {
		fmt.Fprintf(&b, "\n%d  %s", e.Number, e.Name)
		if e.Note != "" {
			fmt.Fprintf(&b, ": %s", e.Note)
		}
		b.WriteString("\n")
		e.histogram(&b)
	}
	fmt.Fprintf(&b, "\nVerdict: %s\n", r.Verdict)
	for _, line := range r.Evidence {
		fmt.Fprintf(&b, "  - %s\n", line)
	}
	if mend := r.Mend(); mend != "" {
		fmt.Fprintf(&b, "\nMend: %s", mend)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// bounds are the upper ends of the histogram's buckets, in seconds. Those about a
// delayed acknowledgement's 40 and 200 ms are narrow.
var bounds = []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .035, .05, .1, .18, .25, .5, 1}

// barWidth is the longest bar, in characters.
const barWidth = 40

// histogram draws the buckets from the first to the last that holds a request.
func (r Result) histogram(w io.Writer) {
	counts := make([]int, len(bounds)+1)
	first, last, most := len(bounds), 0, 0
	for _, s := range r.Seconds {
		i := 0
		for i < len(bounds) && s > bounds[i] {
			i++
		}
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

// Duration writes seconds as people read them, with the unit that fits: 44ms, 82.54µs.
func Duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}
