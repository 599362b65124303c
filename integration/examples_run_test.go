package integration_test

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
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

// getFromExample asks for a path at what became of a port: over TLS at :8443.
func getFromExample(t *testing.T, at map[string]string, port, path string) *http.Response {
	t.Helper()
	if lab.Race && port == ":8443" {
		t.Skip("Caddy 2.11.9 sets Server.h3server while the server accepts already, which the race detector finds")
	}
	require.Contains(t, at, port)
	scheme := "http"
	if port == ":8443" {
		scheme = "https"
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	client := http.Client{Transport: transport, Timeout: lab.Patience}
	resp, err := client.Get(scheme + "://localhost" + at[port] + "/" + path)
	require.NoError(t, err)
	return resp
}

// example returns the text of a file in examples/.
func example(t *testing.T, name string) string {
	t.Helper()
	text, err := fs.ReadFile(os.DirFS(lab.Root()+"/examples"), name)
	require.NoError(t, err)
	return string(text)
}

// validate does what caddy validate does.
func validate(t *testing.T, text string) {
	t.Helper()
	adapted, err := inprocess.Adapt(text)
	require.NoError(t, err)
	var c caddy.Config
	require.NoError(t, caddy.StrictUnmarshalJSON(adapted, &c))
	require.NoError(t, caddy.Validate(&c))
}

var (
	examplePort  = regexp.MustCompile(`(:|_port )([0-9]{4})\b`)
	exampleAdmin = regexp.MustCompile(`(?m)^\tadmin .*`)
)

// moved is an example with ports of the kernel's choice, and with its files kept
// in a directory of the test. It also returns what became of each port.
func moved(t *testing.T, text string) (here string, at map[string]string) {
	t.Helper()
	at = make(map[string]string)
	here = examplePort.ReplaceAllStringFunc(text, func(old string) string {
		parts := examplePort.FindStringSubmatch(old)
		number := ":" + parts[2]
		if at[number] == "" {
			at[number] = fmt.Sprintf(":%d", lab.Port(t))
		}
		return parts[1] + at[number][1:]
	})
	settings := exampleAdmin.FindString(here)
	require.NotEmpty(t, settings, "examples name their admin address")
	settings += "\n\tpersist_config off\n\tstorage file_system " + t.TempDir()
	here = exampleAdmin.ReplaceAllLiteralString(here, settings)
	if site := "\nlocalhost {\n"; strings.Contains(here, site) {
		certificate := lab.Certify(t) // Caddy's own would not be there at once
		here = strings.Replace(here, site, fmt.Sprintf("%s\ttls %s %[2]s\n", site, certificate.File), 1)
	}
	return here, at
}
