package sockopt

import (
	"bytes"
	"context"
	"io"
	"math"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/needed"
)

// play runs a peer to its end and returns its output.
func play(t testing.TB, stdin io.Reader, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, needed.Program(t, name), args...)
	cmd.Stdin = stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	require.NoError(t, err, "%s: %s%s", cmd, output, &stderr)
	return string(output)
}

// figure returns the number that the pattern's group finds in an output.
func figure(t testing.TB, output, pattern string) float64 {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(output)
	require.NotNil(t, match, "no %q in:\n%s", pattern, output)
	number, err := strconv.ParseFloat(match[1], 64)
	require.NoError(t, err)
	return number
}

// quantile returns the number that a share q of the figures is below.
func quantile(figures []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[int(math.Round(q*float64(len(sorted)-1)))]
}

// markdownTable is a table as the README shows it.
type markdownTable struct{ strings.Builder }

func markdown(header ...string) *markdownTable {
	m := new(markdownTable)
	m.row(header...)
	m.row(slices.Repeat([]string{"---"}, len(header))...)
	return m
}

func (m *markdownTable) row(cells ...string) {
	m.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}
