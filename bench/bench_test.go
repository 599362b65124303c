//go:build linux

package main

import (
	"encoding/xml"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestQuick makes the short form of every row, with every system, into a directory of
// its own.
func TestQuick(t *testing.T) {
	for _, p := range peers {
		if err := p.missing(); err != nil {
			lab.Missing(t, err.Error())
		}
	}
	before := lab.Descendants(os.Getpid())
	out := t.TempDir()
	require.NoError(t, command(t.Context(), []string{"-quick", "-pairs", "1", "-out", out}))
	require.Equal(t, before, lab.Descendants(os.Getpid()), "processes are left over")

	r, err := readRecord(out)
	require.NoError(t, err)
	require.Len(t, r.Rows, len(rows))
	require.Equal(t, experimentSystems, r.systems(1, keepAlive, rateMeasure))
	for p, systems := range clientSystems {
		require.Equal(t, systems, r.systems(2, p.name, secondsMeasure))
		// The stalls are there, and the cures: tens of milliseconds against a few.
		require.Greater(t, lab.Median(r.Of(2, p.name, stock, secondsMeasure)), .03)
		require.Less(t, lab.Median(r.Of(2, p.name, auto, secondsMeasure)), .01)
	}
	require.Equal(t, backendSystems, r.systems(3, paste, rateMeasure))
	require.Less(t, lab.Median(r.Of(3, paste, stockTransport, rateMeasure)), 1/.025) // of 44 ms, but for the first
	require.Greater(t, lab.Median(r.Of(3, paste, sockoptTransport, rateMeasure)), 1/.01)
	for _, n := range nagleBackends {
		require.Greater(t, lab.Median(r.Of(3, string(n.work()), stockTransport, secondsMeasure)), .03, n.name)
		require.Less(t, lab.Median(r.Of(3, string(n.work()), sockoptTransport, secondsMeasure)), .03, n.name)
	}
	require.Len(t, r.cases(4), len(handlers)*len(keepAliveProtocols))
	for _, kase := range r.cases(4) {
		require.ElementsMatch(t, []string{stock, auto, on}, r.systems(4, kase, setMeasure), kase)
		require.Greater(t, lab.Median(r.Of(4, kase, on, setMeasure)), lab.Median(r.Of(4, kase, stock, setMeasure)), kase)
	}
	require.ElementsMatch(t, []string{shared, ownCore, ownCore + ", " + multipathOff}, r.cases(5))
	for _, kase := range r.cases(5) {
		require.Len(t, r.systems(5, kase, rateMeasure), 6)
	}
	require.Equal(t, []string{stock, auto, on, off}, r.systems(6, "1,000", heapMeasure))
	require.Equal(t, handshakeSystems, r.systems(7, newNagle, secondsMeasure))
	require.Greater(t, lab.Median(r.Of(7, newNagle, stock, secondsMeasure)), .03)
	require.Less(t, lab.Median(r.Of(7, newNagle, auto, secondsMeasure)), .01)
	require.ElementsMatch(t, pairedSystems, r.systems(7, newNoDelay, rateMeasure))
	require.Greater(t, lab.Median(r.Of(7, newBackend, stockTransport, secondsMeasure)), .03)
	require.Less(t, lab.Median(r.Of(7, newBackend, sockoptTransport, secondsMeasure)), .03)
	require.Len(t, r.cases(8), 2)
	for _, kase := range r.cases(8) {
		require.ElementsMatch(t, []string{stock, packets, stockAgain}, r.systems(8, kase, rateMeasure))
	}
	requireResults(t, out, r)
}

// TestRowsAreReplaced puts one row's later results among the others.
func TestRowsAreReplaced(t *testing.T) {
	r := &record{Date: "first", Rows: []int{1, 2}, Facts: []fact{{"kernel", "6.1"}, {"row 2: begun", "second"}}}
	r.add(1, "", stock, rateMeasure, 1)
	r.add(2, "", stock, rateMeasure, 2)
	later := &record{Date: "third", Rows: []int{2, 3}, Facts: []fact{{"kernel", "6.1"}, {"load before", "0.1"}}}
	later.add(2, "", stock, rateMeasure, 20)
	r.replace(later)
	require.Equal(t, []int{1, 2, 3}, r.Rows)
	require.Equal(t, []float64{1}, r.Of(1, "", stock, rateMeasure))
	require.Equal(t, []float64{20}, r.Of(2, "", stock, rateMeasure))
	require.Equal(t, []fact{
		{"kernel", "6.1"},
		{"row 2: begun", "third"},
		{"row 2: load before", "0.1"},
		{"row 3: begun", "third"},
		{"row 3: load before", "0.1"},
	}, r.Facts)
}

// TestResultsFollowFromSamples writes RESULTS.md and its pictures again from the samples
// beside them.
func TestResultsFollowFromSamples(t *testing.T) {
	r, err := readRecord(".")
	require.NoError(t, err)
	require.False(t, r.Quick, "these are the results of a short form")
	dir := t.TempDir()
	require.NoError(t, report(r, dir))
	requireResults(t, dir, r)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		require.Equal(t, read(t, filepath.Join(dir, f.Name())), read(t, f.Name()), "run go run -C bench . -render")
	}
}

// requireResults checks the form of RESULTS.md and its pictures.
func requireResults(t *testing.T, dir string, r *record) {
	t.Helper()
	results := read(t, filepath.Join(dir, resultsFile))
	require.NotContains(t, results, "NaN")
	require.NotContains(t, results, "Inf")
	for _, row := range rows {
		require.Contains(t, results, fmt.Sprintf("\n## %d %s\n", row.number, row.title))
	}
	for _, f := range r.Facts {
		require.Contains(t, results, "| "+f.Name+" | "+f.Value+" |")
	}
	pictures, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	require.NoError(t, err)
	require.Len(t, pictures, 3)
	for _, file := range pictures {
		require.Contains(t, results, "("+filepath.Base(file)+")")
		require.NoError(t, xml.Unmarshal([]byte(read(t, file)), new(struct{})), file)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file) //nolint:gosec // of the test, or of this tree
	require.NoError(t, err)
	return string(text)
}

func TestCommandRefuses(t *testing.T) {
	for flags, want := range map[string]string{
		"-rows 9":    `-rows: "9" is not from 1 to 8`,
		"-rows idle": `-rows: "idle" is not from 1 to 8`,
		"-pairs 0":   "-pairs 0 is not at least 1",
		"-fast":      "flag provided but not defined: -fast",
	} {
		require.ErrorContains(t, command(t.Context(), strings.Fields(flags)), want)
	}
	require.ErrorIs(t, command(t.Context(), []string{"-h"}), flag.ErrHelp)
}

func TestFigures(t *testing.T) {
	for want, got := range map[string]string{
		"12,346":                number(12345.6),
		"123":                   number(123.4),
		"22.7":                  number(22.74),
		"0.98":                  number(.98),
		"100":                   number(100),
		"+0.000":                signed(-.0001),
		"+256":                  signed(256),
		"0.980 / 0.990 / 1.000": quartiles([]float64{1.01, .99, .98, 1, .9}),
		"23.0":                  spread([]float64{23.01, 22.99, 23}),
		"5726 (4014 – 12,870)":  spread([]float64{12870, 3814, 13224, 5726, 4014}),
		"≥ 0.98: **missed**, within the noise, 0.900 to 1.010": new(section).typicallyAtLeast("", []float64{1.01, .97, .96, .97, .9, .97}, .98),
		"≥ 0.96: met, within the noise, 0.900 to 1.010":        new(section).typicallyAtLeast("", []float64{1.01, .97, .96, .97, .9, .97}, .96),
		"≥ 0.99: **missed**":                                   new(section).typicallyAtLeast("", slices.Repeat([]float64{.98, .97}, 50), .99),
		"≥ 0.97: met":                                          new(section).typicallyAtLeast("", []float64{1.01, .97, .9}, .97),
		"≥ 0.98: **missed**":                                   new(section).atLeast("", .979, .98),
		"≤ 256: met":                                           new(section).atMost("", 256, 256),
		"≤ 0.02: **missed**":                                   new(section).atMost("", .021, .02),
		"[0.5]":                                                fmt.Sprint(ratios([]float64{1, 3}, []float64{2, 0})),
	} {
		require.Equal(t, want, got)
	}
}

// TestConfidence holds the interval to the tables of the sign test.
func TestConfidence(t *testing.T) {
	for n, outermost := range map[int]float64{5: 0, 6: 1, 8: 1, 9: 2, 12: 3, 20: 6, 100: 40} {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(i + 1)
		}
		least, most := confidence(values)
		if outermost == 0 {
			require.True(t, math.IsNaN(least) && math.IsNaN(most))
			continue
		}
		require.Equal(t, []float64{outermost, float64(n+1) - outermost}, []float64{least, most}, n)
	}
}
