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
// RESULTS.md does not hold: the tables of its first screen and the text of the section
// figure by figure, other tables line by line.
func TestREADMEQuotesResults(t *testing.T) {
	results := read(t, resultsFile)
	measured, held := figures.FindAllString(results, -1), strings.Split(results, "\n")
	requireFigures := func(text string) {
		t.Helper()
		for _, figure := range figures.FindAllString(code.ReplaceAllString(text, ""), -1) {
			require.Contains(t, measured, strings.TrimRight(figure, ","), "RESULTS.md does not hold it")
		}
	}
	requireLines := func(text string) {
		t.Helper()
		quoted := tableRow.FindAllString(text, -1)
		require.NotEmpty(t, quoted)
		for _, line := range quoted {
			require.Contains(t, held, line)
		}
	}
	readme := read(t, filepath.Join("..", "README.md"))
	section := func(title string) string {
		t.Helper()
		_, text, ok := strings.Cut(readme, "\n## "+title+"\n")
		require.True(t, ok, "README.md lacks the section %s", title)
		text, _, _ = strings.Cut(text, "\n## ")
		return text
	}
	first, _, _ := strings.Cut(readme, "\n## ")
	firstTable := tableRow.FindAllString(first, -1)
	require.NotEmpty(t, firstTable)
	requireFigures(strings.ReplaceAll(strings.Join(firstTable, "\n"), "the server of 2009", ""))
	requireLines(section("The experiment"))
	sideBySide := section("Side by side")
	require.Contains(t, sideBySide, "(bench/RESULTS.md)")
	require.Contains(t, sideBySide, "go run ./bench")
	requireLines(sideBySide)
	requireFigures(tableRow.ReplaceAllString(sideBySide, ""))
}
