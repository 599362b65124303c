package lab

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Caddy is a running Caddy with a Caddyfile of this package.
type Caddy struct {
	Dir   string // its storage, log and configuration
	Admin string // address of its admin API
	PID   int    // of its process
}

// Ask sends a request to the admin API over a connection of its own.
//
// A load replaces the admin API's server, too. The old one drops a connection that comes
// late: the kernel resets it, or net/http closes it before the request is served. Such a
// request is sent again.
func (c *Caddy) Ask(ctx context.Context, method, path, contentType, body string) (status int, answer string, err error) {
	for deadline := time.Now().Add(Patience); ; {
		status, answer, err = c.askOnce(ctx, method, path, contentType, body)
		dropped := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
		if !dropped || time.Now().After(deadline) {
			return status, answer, err
		}
	}
}

func (c *Caddy) askOnce(ctx context.Context, method, path, contentType, body string) (status int, answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Admin+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", contentType)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// Log returns what Caddy has logged.
func (c *Caddy) Log() (string, error) {
	text, err := os.ReadFile(filepath.Join(c.Dir, "log"))
	return string(text), err
}

// Running is a Caddy that runs until the test ends.
type Running struct {
	Caddy
	t testing.TB
}

// NewRunning returns a Caddy of a test that is still to be started: it has a directory
// and a port for the admin API. In the end each line of the plugin in its log has been
// held to the names that lines have in common.
func NewRunning(t testing.TB) *Running {
	t.Helper()
	r := &Running{Caddy{Dir: t.TempDir(), Admin: Address(t), PID: os.Getpid()}, t}
	t.Cleanup(r.requireNames)
	return r
}

// Attached returns a Caddy of a test that was started otherwise, by the address of its
// admin API.
func Attached(t testing.TB, admin string) *Running {
	return &Running{Caddy{Admin: admin, PID: os.Getpid()}, t}
}

// Caddyfile returns a Caddyfile for this Caddy.
func (r *Running) Caddyfile(global, sites string) string {
	return Caddyfile(r.Dir, r.Admin, global, sites)
}

// API sends a request to the admin API and returns the status and the answer.
func (r *Running) API(method, path, contentType, body string) (status int, answer string) {
	r.t.Helper()
	status, answer, err := r.Ask(context.Background(), method, path, contentType, body)
	require.NoError(r.t, err)
	return status, answer
}

// Load posts a configuration to the admin API and returns the status and the answer.
func (r *Running) Load(contentType, body string) (status int, answer string) {
	r.t.Helper()
	return r.API(http.MethodPost, "/load", contentType, body)
}

// Reload loads a Caddyfile with global options and sites, which must be accepted.
func (r *Running) Reload(global, sites string) {
	r.t.Helper()
	status, answer := r.Load("text/caddyfile", r.Caddyfile(global, sites))
	require.Equal(r.t, http.StatusOK, status, answer)
}

// Logged returns what Caddy has logged.
func (r *Running) Logged() string {
	r.t.Helper()
	text, err := r.Log()
	require.NoError(r.t, err)
	return text
}
