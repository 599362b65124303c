package integration_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestCommandsSayWhyTheyFail: each flag of each command refuses a wrong value with exit
// status 1 and says why, and so does a flag that no command has.
func TestCommandsSayWhyTheyFail(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close") // which makes a run of the probe short
	}))
	defer server.Close()
	byType := map[string]string{"bool": "maybe", "int": "x", "duration": "5"}
	byFlag := map[string]string{
		"connections --address": "localhost:1-9", "connections --sort": "weight", "doctor --address": "localhost:1-9",
		"probe --compare": "localhost", "probe --header": "X", "probe --method": "a b", "probe --svg": t.TempDir(),
	}
	arguments := map[string][]string{"probe": {server.URL}}
	root := new(cobra.Command)
	caddycmd.Commands()["sockopt"].CobraFunc(root)
	for _, cmd := range append(root.Commands(), root) {
		name := strings.TrimSpace(strings.TrimPrefix(cmd.CommandPath(), "sockopt"))
		refused := func(flag, value string) {
			t.Run(name+" "+flag, func(t *testing.T) {
				args := append(append([]string{"sockopt"}, strings.Fields(name)...), flag)
				if value != "" {
					args[len(args)-1] += "=" + value
				}
				_, stderr, err := lab.CaddyOutput(t, append(args, arguments[name]...)...)
				require.Equal(t, 1, exitOf(t, err))
				require.True(t, strings.Contains(stderr, flag) || value != "" && strings.Contains(stderr, value), "%q", stderr)
			})
		}
		refused("--nope", "")
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			flag := "--" + f.Name
			value := byType[f.Value.Type()]
			if value == "" {
				value = byFlag[name+" "+flag]
			}
			require.NotEmpty(t, value, "give this test a wrong value of caddy sockopt %s %s", name, flag)
			refused(flag, value)
		})
	}
}
