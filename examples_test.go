package sockopt

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// examples says what each file in examples/ serves where.
var examples = map[string][]string{
	"Caddyfile": {":8080", ":8081", ":8082"},
}

func TestExamples(t *testing.T) {
	files, err := os.ReadDir("examples")
	require.NoError(t, err)
	for _, file := range files {
		t.Run(file.Name(), func(t *testing.T) {
			ports, ok := examples[file.Name()]
			require.True(t, ok, "no test says what it shows")
			text, err := os.ReadFile(filepath.Join("examples", file.Name()))
			require.NoError(t, err)
			require.Equal(t, string(text), string(caddyfile.Format(text)), "caddy fmt would change it")
			validate(t, string(text))

			here, at := moved(t, string(text))
			adapted, err := adapt(here)
			require.NoError(t, err)
			require.NoError(t, caddy.Load(adapted, true))
			t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
			for _, port := range ports {
				require.Contains(t, at, port)
				require.NoError(t, get(t.Context(), http.DefaultClient, "http://localhost"+at[port]))
			}
		})
	}
}

// validate does what caddy validate does.
func validate(t *testing.T, text string) {
	t.Helper()
	adapted, err := adapt(text)
	require.NoError(t, err)
	var c caddy.Config
	require.NoError(t, caddy.StrictUnmarshalJSON(adapted, &c))
	require.NoError(t, caddy.Validate(&c))
}

var (
	examplePort  = regexp.MustCompile(`:[0-9]{4}\b`)
	exampleAdmin = regexp.MustCompile(`(?m)^\tadmin .*`)
)

// moved is an example with ports of the kernel's choice, and with its files kept
// in a directory of the test. It also returns what became of each port.
func moved(t *testing.T, text string) (here string, at map[string]string) {
	t.Helper()
	at = make(map[string]string)
	here = examplePort.ReplaceAllStringFunc(text, func(old string) string {
		if at[old] == "" {
			at[old] = fmt.Sprintf(":%d", port(t))
		}
		return at[old]
	})
	settings := exampleAdmin.FindString(here)
	require.NotEmpty(t, settings, "examples name their admin address")
	settings += "\n\tpersist_config off\n\tstorage file_system " + t.TempDir()
	return exampleAdmin.ReplaceAllLiteralString(here, settings), at
}
