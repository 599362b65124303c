package integration_test

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// getFromExample asks for a path at what became of a port: over TLS at :8443.
func getFromExample(t *testing.T, at map[string]string, port, path string) *http.Response {
	t.Helper()
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
