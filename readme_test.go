package sockopt

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

var update = flag.Bool("update", false, "write the table of options into README.md")

// The table is between these lines.
const (
	tableBegins = "<!-- The rows of options.go, written by: go test -run README -update . -->\n"
	tableEnds   = "<!-- The end of the rows. -->\n"
)

// TestREADMEHasTheTable compares the README's table of options with the rows.
func TestREADMEHasTheTable(t *testing.T) {
	text := readme(t)
	before, rest, ok := strings.Cut(text, tableBegins)
	require.True(t, ok, "README.md lacks the line %q", tableBegins)
	_, after, ok := strings.Cut(rest, tableEnds)
	require.True(t, ok, "README.md lacks the line %q", tableEnds)
	want := before + tableBegins + "\n" + optionTable() + "\n" + tableEnds + after
	if *update && want != text {
		require.NoError(t, os.WriteFile("README.md", []byte(want), 0o600))
		return
	}
	require.Equal(t, want, text, "run go test -run README -update .")
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	return string(text)
}

// optionTable renders the rows.
func optionTable() string {
	m := lab.NewTable("option", "kernel", "value", "when", "Linux", "what it is")
	for _, r := range rows {
		kernel, since := r.option.Name, r.since
		if kernel == "" {
			kernel, since = "–", "–"
		}
		m.row("`"+r.name+"`", kernel, shortly(r.want()), initials(r.phases), since, r.doc)
	}
	return m.String()
}

// shortly is what a value looks like without its examples: "size" of "a size such
// as 64KiB, 1MB or a number of bytes".
func shortly(want string) string {
	for _, examples := range []string{", such as ", " such as ", ": "} {
		want, _, _ = strings.Cut(want, examples)
	}
	return strings.TrimPrefix(want, "a ")
}

// TestREADMENamesEverything holds that no module and no example stays unmentioned.
func TestREADMENamesEverything(t *testing.T) {
	text := readme(t)
	ours := regexp.MustCompile(`sockopt|^http\.handlers\.echo_payload$`)
	var modules int
	for _, module := range caddy.Modules() {
		if !ours.MatchString(module) || strings.Contains(module, "test_") {
			continue
		}
		modules++
		require.Contains(t, text, "`"+module+"`")
	}
	require.NotZero(t, modules)
	files, err := filepath.Glob("examples/*Caddyfile")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		require.Contains(t, text, "]("+filepath.ToSlash(file)+")")
	}
}

var readmeBlock = regexp.MustCompile("(?s)```caddyfile\n(.*?)```")

// TestREADMEConfigurationsAreRight adapts the README's complete Caddyfiles, and the
// options that it shows alone.
func TestREADMEConfigurationsAreRight(t *testing.T) {
	blocks := readmeBlock.FindAllStringSubmatch(readme(t), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		text := block[1]
		switch {
		case strings.Contains(text, "["): // a grammar
			continue
		case strings.HasPrefix(text, "sockopt"):
			text = "{\n" + lab.Wrappers(text) + "\n}\n:80 {\n}\n"
		case strings.HasPrefix(text, "reverse_proxy"):
			text = ":80 {\n" + text + "}\n"
		default:
			require.Equal(t, text, string(caddyfile.Format([]byte(text))), "caddy fmt would change it")
		}
		_, err := inprocess.Adapt(text)
		require.NoError(t, err, text)
	}
}

var readmeError = regexp.MustCompile("(?m)^\\| `(.*)` \\| `(.*)` \\|$")

// TestREADMEErrorsAreRight makes the errors that the README shows, as far as this
// kernel has them, too.
func TestREADMEErrorsAreRight(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("they are those of Linux")
	}
	_, section, _ := strings.Cut(readme(t), "\n### Errors at load\n")
	section, _, _ = strings.Cut(section, "\n#")
	shown := readmeError.FindAllStringSubmatch(section, -1)
	require.NotEmpty(t, shown)
	for _, row := range shown {
		line, want := row[1], row[2]
		t.Run(line, func(t *testing.T) {
			w := new(ListenerWrapper)
			err := unmarshal(w, "sockopt"+lab.Block(line))
			if err == nil {
				_, err = w.resolve(listen|accept, zap.NewNop())
			}
			if err == nil {
				t.Skip("this process may, on this kernel")
			}
			for _, kernels := range []string{" offers ", ", this is "} { // its own words follow
				want, _, _ = strings.Cut(want, kernels)
			}
			require.Contains(t, err.Error(), want)
		})
	}
}
