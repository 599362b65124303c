package integration_test

import (
	"io/fs"
	"path"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWorkflowsRunWhatIsHere looks for the scripts that workflows and pages name.
func TestWorkflowsRunWhatIsHere(t *testing.T) {
	workflows, err := fs.Glob(checkout, ".github/workflows/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, workflows)
	for _, page := range append(workflows, pages(t)...) {
		for _, script := range regexp.MustCompile(`(?:run: |^|\x60)(\.ci/[a-z]+)`).FindAllStringSubmatch(readPage(t, page), -1) {
			info, err := fs.Stat(checkout, script[1])
			require.NoError(t, err, page)
			require.NotZero(t, info.Mode()&0o111, "%s is not executable", script[1])
		}
	}
}

// TestDependabotHasEveryModule compares its list with the modules.
func TestDependabotHasEveryModule(t *testing.T) {
	match := regexp.MustCompile(`(?m)package-ecosystem: gomod\n +directories: \[(.*)\]$`).FindStringSubmatch(readPage(t, ".github/dependabot.yml"))
	require.NotNil(t, match)
	patterns := regexp.MustCompile(`, *`).Split(match[1], -1)
	modules := 0
	require.NoError(t, fs.WalkDir(checkout, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "go.mod" {
			modules++
			directory := path.Join("/", path.Dir(name))
			covered := false
			for _, pattern := range patterns {
				matches, err := path.Match(pattern, directory)
				require.NoError(t, err)
				covered = covered || matches
			}
			require.True(t, covered, "dependabot does not look at %s", directory)
		}
		return err
	}))
	require.GreaterOrEqual(t, modules, 5)
}

// TestREADMEBuildsWithThePluginsThatAreTested compares the versions of the README's build with
// those of the tests beside other plugins.
func TestREADMEBuildsWithThePluginsThatAreTested(t *testing.T) {
	tested := readPage(t, "integration/apps/go.mod")
	plugins := regexp.MustCompile(`--with (github\.com/[a-z0-9/-]+)@(\S+)`).FindAllStringSubmatch(readPage(t, "README.md"), -1)
	found := 0
	for _, plugin := range plugins {
		if plugin[1] != "github.com/caddy-sockopt/caddy-sockopt" {
			found++
			require.Contains(t, tested, plugin[1]+" "+plugin[2]+"\n")
		}
	}
	require.Equal(t, 1, found)
}
