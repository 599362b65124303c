package options

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestDocsSayWhatMPTCPListenersTake compares a table of docs/options.md with the rows.
func TestDocsSayWhatMPTCPListenersTake(t *testing.T) {
	table := lab.NewTable("option", "plain listener", "MPTCP listener")
	for _, r := range rows {
		if r.sinceMPTCP != "" {
			table.Row("`"+r.name+"`", "Linux "+r.since, strings.Replace("Linux "+r.sinceMPTCP, "Linux "+neverMPTCP, neverMPTCP, 1))
		}
	}
	text, err := os.ReadFile(filepath.Join(lab.Root(), "docs", "options.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), "\n\n"+table.String()+"\n")
}
