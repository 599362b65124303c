package integration_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestAlerts runs the tests of the alert rules, which ask for metrics that the page has.
func TestAlerts(t *testing.T) {
	page, err := os.ReadFile("../docs/observe.md")
	require.NoError(t, err)
	names := regexp.MustCompile(`caddy_sockopt_\w+`).FindAllString(example(t, "alerts.yml"), -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		require.Contains(t, string(page), "`"+name+"`")
	}
	cmd := lab.Command(t.Context(), lab.Require(t, "promtool"), "test", "rules", "alerts_test.yml")
	cmd.Dir = "../examples"
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
}
