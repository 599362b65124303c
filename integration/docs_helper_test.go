package integration_test

import (
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// checkout is the repository.
var checkout = os.DirFS("..")

// pages returns the path of every Markdown page.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"*.md", "docs/*.md", "bench/README.md", "examples/*.md"} {
		files, err := fs.Glob(checkout, pattern)
		require.NoError(t, err)
		found = append(found, files...)
	}
	require.Contains(t, found, "README.md")
	return found
}

func readPage(t *testing.T, name string) string {
	t.Helper()
	text, err := fs.ReadFile(checkout, name)
	require.NoError(t, err)
	return string(text)
}
