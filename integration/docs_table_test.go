package integration_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

var update = flag.Bool("update", false, "write the table of options into docs/options.md")

// The table is between these lines.
const (
	tableBegins = "<!-- The rows of options.go, written by: go test -run Docs ./integration -update -->\n"
	tableEnds   = "<!-- The end of the rows. -->\n"
)

// TestDocsHaveTheTable compares the table of options with the options.
func TestDocsHaveTheTable(t *testing.T) {
	text := readPage(t, "docs/options.md")
	before, rest, ok := strings.Cut(text, tableBegins)
	require.True(t, ok, "docs/options.md lacks the line %q", tableBegins)
	table, after, ok := strings.Cut(rest, tableEnds)
	require.True(t, ok, "docs/options.md lacks the line %q", tableEnds)
	want := "\n" + optionTable() + "\n"
	if *update && want != table {
		text = before + tableBegins + want + tableEnds + after
		require.NoError(t, os.WriteFile(filepath.Join(lab.Root(), "docs", "options.md"), []byte(text), 0o600))
		return
	}
	require.Equal(t, want, table, "run go test -run Docs ./integration -update")
}

// optionTable has a row for each option.
func optionTable() string {
	m := lab.NewTable("option", "kernel", "value", "when", "Linux", "what it is")
	for _, o := range options.ThisSystem().Options {
		kernel, since := o.Kernel, o.Since
		if kernel == "" {
			kernel, since = "–", "–"
		}
		var when strings.Builder
		for _, phase := range o.Phases {
			when.WriteString(strings.ToUpper(phase[:1]))
		}
		m.Row("`"+o.Name+"`", kernel, shortly(o.Value), when.String(), since, o.Doc)
	}
	return m.String()
}

// shortly is what a value looks like without its examples: "size" of "a size such as
// 64KiB, 1MB or a number of bytes".
func shortly(want string) string {
	for _, examples := range []string{", such as ", " such as ", ": "} {
		want, _, _ = strings.Cut(want, examples)
	}
	return strings.TrimPrefix(want, "a ")
}

// TestREADMENamesEveryModule holds that no module stays unmentioned.
func TestREADMENamesEveryModule(t *testing.T) {
	text := readPage(t, "README.md")
	ours := regexp.MustCompile(`sockopt$|^http\.handlers\.(echo_payload|tcp_info)$`)
	var modules int
	for _, module := range caddy.Modules() {
		if ours.MatchString(module) {
			modules++
			require.Contains(t, text, "`"+module+"`")
		}
	}
	require.NotZero(t, modules)
}
