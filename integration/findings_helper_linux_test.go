package integration_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/findings"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// found is the answer of GET /sockopt/findings.
type found struct {
	LookedAt struct {
		During                                       string
		Listeners, Backends, UDPSockets, Connections int
	} `json:"looked_at"`
	Findings, Notes []findings.Finding
}

// findWhile looks for a time in which do runs.
func findWhile(t testing.TB, c *lab.Running, during string, do func()) (f found) {
	t.Helper()
	resp, err := http.Get("http://" + c.Admin + "/sockopt/findings?during=" + during) // its header comes after the first look
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	do()
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&f))
	return f
}

// findFirst is findWhile until something is found: on a busy machine do may outlast a look.
func findFirst(t testing.TB, c *lab.Running, during string, do func()) (f found) {
	t.Helper()
	for range 5 {
		if f = findWhile(t, c, during, do); len(f.Findings) > 0 {
			break
		}
	}
	return f
}

// the returns the one finding, which has this name.
func (f found) the(t testing.TB, name string) findings.Finding {
	t.Helper()
	require.Len(t, f.Findings, 1)
	require.Equal(t, name, f.Findings[0].Name)
	return f.Findings[0]
}

// reload loads a configuration and waits for the end of the listening socket before: until then the
// server from before takes connections, and drops them.
func reload(t testing.TB, c *lab.Running, addr, global, sites string) {
	t.Helper()
	c.Reload(global, sites)
	port, err := strconv.Atoi(lab.PortOf(addr))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return listening(t, port) == 1 }, lab.Patience, time.Millisecond)
}

// numberIn returns what an expression captures, which is a number.
func numberIn(t testing.TB, text, expression string) int {
	t.Helper()
	match := regexp.MustCompile(expression).FindStringSubmatch(text)
	require.NotNil(t, match, "%s: %s", expression, text)
	n, err := strconv.Atoi(match[1])
	require.NoError(t, err)
	return n
}
