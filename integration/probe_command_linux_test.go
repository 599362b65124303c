package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/probe"
)

// TestProbeErrors: exit status 1, and why.
func TestProbeErrors(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(nil)
	defer secure.Close()
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "Usage:"},
		{nil, "give one URL, not 0"},
		{[]string{"http://localhost", "http://localhost"}, "give one URL, not 2"},
		{[]string{"http://" + lab.Address(t) + "/"}, "connection refused"},
		{[]string{"localhost"}, "is not a URL such as"},
		{[]string{"127.0.0.1:30001"}, "is not a URL such as"},
		{[]string{"--compare", "localhost", "http://localhost"}, "is not a URL such as"},
		{[]string{"--requests", "0", "http://localhost"}, "--requests 0 would measure nothing"},
		{[]string{"--requests", "9999", "http://localhost"}, "more than the 10000"},
		{[]string{"--method", "POST", "--requests", "1600", "--body-size", "67108864", "http://localhost"}, "choose fewer requests or a smaller body"},
		{[]string{"--header", "X", "http://localhost"}, `such as "Accept: text/html"`},
		{[]string{"--header", "X Y: z", "http://localhost"}, `header "X Y" is not a field's name`},
		{[]string{"--method", "a b", "http://localhost"}, "is not one such as GET"},
		{[]string{strings.Replace(secure.URL, "https", "http", 1)}, "this port speaks TLS; probe " + secure.URL},
		{[]string{"http://me:secret@" + lab.Address(t) + "/"}, "connection refused"},
	} {
		_, stderr, err := lab.CaddyOutput(t, append([]string{"sockopt", "probe"}, test.args...)...)
		require.Equal(t, 1, exitOf(t, err), "%q", test.args)
		require.Contains(t, strings.ReplaceAll(stderr, `\"`, `"`), test.want)
		require.NotContains(t, stderr, "secret")
	}
}

// TestProbeComparesWithNothing: the results of one URL are printed where the other has
// none, in either order.
func TestProbeComparesWithNothing(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close") // which makes a run short
	}))
	defer server.Close()
	refuses := "http://" + lab.Address(t) + "/"
	for _, urls := range [][]string{{server.URL, refuses}, {refuses, server.URL}} {
		stdout, stderr, err := lab.CaddyOutput(t, "sockopt", "probe", "--json", "--compare", urls[1], urls[0])
		require.Equal(t, 1, exitOf(t, err))
		require.Contains(t, stderr, refuses+": ")
		require.Contains(t, stderr, "connection refused")
		var reports []probe.Report
		require.NoError(t, json.Unmarshal([]byte(stdout), &reports))
		require.Len(t, reports, 1)
		require.Equal(t, server.URL, reports[0].URL)
	}
}

// TestProbeInterrupted says so.
func TestProbeInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		interrupt()
		<-r.Context().Done()
	}))
	defer server.Close()
	cmd, err := lab.CaddyCommand(ctx, t.TempDir(), nil, "sockopt", "probe", server.URL)
	require.NoError(t, err)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.WaitDelay = &stderr, lab.Patience
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	require.Equal(t, 1, exitOf(t, cmd.Run()))
	require.Contains(t, stderr.String(), "interrupted before the end of the run")
	require.NotContains(t, stderr.String(), "context")
}

// TestProbePrints: the table, the picture with a dot for each request, and both of two
// URLs side by side.
func TestProbePrints(t *testing.T) {
	t.Parallel()
	stock, cured := withCaddy("", "echo_payload")(t), withCaddy("sockopt", "echo_payload")(t)
	args := []string{"sockopt", "probe", "--requests", "10", "--compare", "http://" + cured + "/", "http://" + stock + "/"}
	file := filepath.Join(t.TempDir(), "picture.svg")
	var stdout, stderr string
	var err error
	_ = thrice(func() error {
		stdout, stderr, err = lab.CaddyOutput(t, append(args, "--svg", file)...)
		if strings.Contains(stdout, string(probe.OtherSlow)) {
			return slow(probe.OtherSlow)
		}
		return nil
	})
	require.Equal(t, 3, exitOf(t, err), stderr)
	for _, line := range []string{
		"A  GET http://" + stock, "B  GET http://" + cured, "A: REQ/S", "B: REQ/S",
		"A  Verdict: server-side delayed ACK. Ordinary requests do not wait.", "B  Verdict: no stall. Nobody waits for a timer.",
	} {
		require.Contains(t, stdout, line)
	}
	text, err := os.ReadFile(file) //nolint:gosec // the test's own
	require.NoError(t, err)
	require.NoError(t, xml.Unmarshal(text, new(struct{})))
	const legend = 6
	require.Equal(t, 2*6*10+legend, strings.Count(string(text), "<circle"))
	for _, label := range []string{stock, cured, "requests", "time of a request", "keep-alive", "prefers-color-scheme: dark"} {
		require.Contains(t, string(text), label)
	}
	_, _, err = lab.CaddyOutput(t, append(args, "--svg", t.TempDir())...)
	require.Equal(t, 1, exitOf(t, err), "a directory is not a file")

	var both []probe.Report
	_ = thrice(func() error {
		stdout, _, _ = lab.CaddyOutput(t, append(args, "--json")...)
		require.NoError(t, json.Unmarshal([]byte(stdout), &both))
		require.Len(t, both, 2)
		return slow(both[1].Verdict)
	})
	require.Equal(t, probe.NoStall, both[1].Verdict)
}
