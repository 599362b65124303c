package integration_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// examples says how many bytes each file in examples/ serves at which port and path.
var examples = map[string]map[string]int64{
	"Caddyfile":                {":8080/": 10_000, ":8081/": 10_000, ":8082/": 10_000},
	"backend.Caddyfile":        {}, // nothing without its backend
	"bulk-downloads.Caddyfile": {":8443/": 100_000_000},
	"busy-edge.Caddyfile":      {":8443/": 10_000},
	"by-network.Caddyfile":     {":8443/": 10_000, ":8443/downloads/file": 100 << 20},
	"dscp.Caddyfile":           {":8443/": 10_000, ":8443/downloads/file": 1_000_000},
	"edge.Caddyfile":           {":8443/health": 7},
	"http3.Caddyfile":          {":8443/": 10_000},
	"low-latency.Caddyfile":    {":8443/": 200},
	"metrics.Caddyfile":        {":8443/": 10_000},
	"mobile-clients.Caddyfile": {":8443/": 10_000},
	"per-route.Caddyfile":      {":8443/": 10_000, ":8443/report": 100_000},
	"php.Caddyfile":            {}, // nothing without PHP
	"tcp-info.Caddyfile":       {":8443/": 10_000},
	"upstream-rtt.Caddyfile":   {}, // nothing without its backend
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob(lab.Root() + "/examples/*Caddyfile")
	require.NoError(t, err)
	require.Len(t, files, len(examples))
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			serves, ok := examples[name]
			require.True(t, ok, "no test says what it shows")
			text := example(t, name)
			require.Equal(t, text, string(caddyfile.Format([]byte(text))), "caddy fmt would change it")
			if name != "Caddyfile" && runtime.GOOS != "linux" {
				t.Skip("its options need Linux")
			}
			validate(t, text)

			here, at := moved(t, text)
			inprocess.Load(t, here)
			for what, size := range serves {
				port, path, _ := strings.Cut(what, "/")
				resp := getFromExample(t, at, port, path)
				resp.Body.Close()
				require.Equal(t, http.StatusOK, resp.StatusCode)
				require.Equal(t, size, resp.ContentLength)
			}
		})
	}
}

// TestExamplesOfReleases loads the examples of each release as they were. They are never edited:
// docs/compatibility.md promises that they go on loading.
func TestExamplesOfReleases(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("their options need Linux")
	}
	files, err := filepath.Glob("testdata/examples/*/*Caddyfile")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimPrefix(file, "testdata/examples/"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			validate(t, string(text))
			here, _ := moved(t, string(text))
			inprocess.Load(t, here)
		})
	}
}

var (
	examplePort  = regexp.MustCompile(`(:|_port )([0-9]{4})\b`)
	exampleAdmin = regexp.MustCompile(`(?m)^\tadmin .*`)
)
