package integration_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestContainerVersions compares the versions of the Dockerfile with go.mod and the changelog.
func TestContainerVersions(t *testing.T) {
	text := example(t, "container/Dockerfile")
	first := func(pattern, page string) string {
		match := regexp.MustCompile(pattern).FindStringSubmatch(readPage(t, page))
		require.NotNil(t, match, pattern)
		return match[1]
	}
	caddy := first(`(?m)^\tgithub\.com/caddyserver/caddy/v2 v(\S+)$`, "go.mod")
	require.Equal(t, []string{"caddy:" + caddy + "-builder", "build v" + caddy, "caddy:" + caddy},
		regexp.MustCompile(`(?m)caddy:\S+|build v\S+`).FindAllString(text, -1))
	require.Contains(t, text, first(`(?m)^module (\S+)$`, "go.mod")+"@v"+first(`(?m)^## \[(\d\S*)\]`, "CHANGELOG.md"))
}

// TestContainerInREADME compares the README's Dockerfile with that of the example.
func TestContainerInREADME(t *testing.T) {
	var lines strings.Builder
	for line := range strings.Lines(example(t, "container/Dockerfile")) {
		if !strings.HasPrefix(line, "#") {
			lines.WriteString(line)
		}
	}
	require.Contains(t, readPage(t, "README.md"), "```dockerfile\n"+lines.String()+"```\n")
}
