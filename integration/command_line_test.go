package integration_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

func TestOptionsCommandJSON(t *testing.T) {
	t.Parallel()
	stdout, stderr, err := lab.CaddyOutput(t, "sockopt", "options", "--json")
	require.NoError(t, err, stderr)
	var s options.System
	decoder := json.NewDecoder(strings.NewReader(stdout))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&s))
	require.Equal(t, options.ThisSystem(), s)
}

func TestBareCommandPrintsHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"sockopt"}, {"sockopt", "--help"}, {"help", "sockopt"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			stdout, stderr, err := lab.CaddyOutput(t, args...)
			require.NoError(t, err, stderr)
			require.Contains(t, stdout, "caddy sockopt [command]")
			require.Contains(t, stdout, "options     List the options with this kernel's support, bounds and defaults")
		})
	}
}

func TestCommandRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, want string }{
		{"sockopt bounds", `unknown command "bounds" for "caddy sockopt"`},
		{"sockopt options nodelay", `unknown command "nodelay" for "caddy sockopt options"`},
		{"sockopt options --yaml", "unknown flag: --yaml"},
	} {
		t.Run(test.args, func(t *testing.T) {
			stdout, stderr, err := lab.CaddyOutput(t, strings.Fields(test.args)...)
			require.Error(t, err)
			require.Contains(t, stdout+stderr, test.want)
		})
	}
}
