package lab

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Play runs another program to its end and returns its output.
func Play(t testing.TB, stdin io.Reader, program string, args ...string) string {
	t.Helper()
	OtherProcess(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	defer cancel()
	cmd := Command(ctx, Require(t, program), args...)
	cmd.Stdin = stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	require.NoError(t, err, "%s: %s%s", cmd, output, &stderr)
	return string(output)
}

// Figure returns the number that the pattern's group finds in an output.
func Figure(t testing.TB, output, pattern string) float64 {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(output)
	require.NotNil(t, match, "no %q in:\n%s", pattern, output)
	number, err := strconv.ParseFloat(match[1], 64)
	require.NoError(t, err)
	return number
}

// Table is a Markdown table.
type Table struct{ strings.Builder }

// NewTable returns a table with a header.
func NewTable(header ...string) *Table {
	t := new(Table)
	t.Row(header...)
	t.Row(strings.Split(strings.Repeat("---,", len(header)-1)+"---", ",")...)
	return t
}

// Row adds a row.
func (t *Table) Row(cells ...string) { t.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
