//go:build linux

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestResultsFollowFromSamples writes RESULTS.md and its pictures again from the
// samples beside them.
func TestResultsFollowFromSamples(t *testing.T) {
	r, err := readRecord(".")
	require.NoError(t, err)
	require.False(t, r.Quick, "these are the results of a short form")
	require.Len(t, r.Rows, len(rows))
	require.Empty(t, r.Missing)
	dir := t.TempDir()
	require.NoError(t, report(r, dir))
	requireResults(t, dir, r)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		require.Equal(t, read(t, filepath.Join(dir, f.Name())), read(t, f.Name()), "run go run ./bench -render")
	}
	pictures, err := filepath.Glob("*.svg")
	require.NoError(t, err)
	require.Len(t, files, len(pictures)+1, "a picture is left from earlier results")
}

var (
	tableRow = regexp.MustCompile(`(?m)^\|.*\|$`)
	code     = regexp.MustCompile("(?s)```.*?```|`[^`]*`|\\]\\([^)]*\\)")
	figures  = regexp.MustCompile(`\d[\d,]*(?:\.\d+)?`)
)

// TestREADMEQuotesResults holds that the project's README quotes nothing that
// RESULTS.md does not hold: its tables line by line, its text figure by figure.
func TestREADMEQuotesResults(t *testing.T) {
	results := read(t, resultsFile)
	_, quoting, ok := strings.Cut(read(t, filepath.Join("..", "README.md")), "\n## Side by side\n")
	require.True(t, ok, "README.md lacks the section")
	quoting, _, _ = strings.Cut(quoting, "\n## ")
	require.Contains(t, quoting, "(bench/RESULTS.md)")
	require.Contains(t, quoting, "go run ./bench")
	quoted := tableRow.FindAllString(quoting, -1)
	require.NotEmpty(t, quoted)
	held := strings.Split(results, "\n")
	for _, line := range quoted {
		require.Contains(t, held, line)
	}
	text := code.ReplaceAllString(tableRow.ReplaceAllString(quoting, ""), "")
	measured := figures.FindAllString(results, -1)
	for _, figure := range figures.FindAllString(text, -1) {
		require.Contains(t, measured, strings.TrimRight(figure, ","), "RESULTS.md does not hold it")
	}
}
