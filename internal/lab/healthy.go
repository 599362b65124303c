package lab

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// LookEvery is the environment variable with the time between two looks for findings of a Caddy that
// Spawn starts. One that a command wraps looks once a minute, since its system calls are counted, and
// so does that of a test that is Measured.
const LookEvery = "SOCKOPT_LOOK_EVERY"

// lookEvery is long enough for what findings need: half a second of sending, ten stalls.
const lookEvery = "1s"

// Causes are the findings that tests cause, by the name of the test, and under "*" those that any
// may have. A Caddy that Spawn starts has no others. It is nil where that is not checked.
var Causes map[string][]string

// meant has lines of a Caddyfile, by the finding that whoever writes them may expect.
var meant = map[string]string{"peers_wait": "quickack off", "send_buffer_limits": "send_buffer"}

// Measured are tests of what Caddy needs, by name.
var Measured []string

// nameOf is the name of a test without those of its parts.
func nameOf(t testing.TB) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return name
}

// requireHealthy fails the test for what Caddy has found in its looks and finds now.
func (r *Running) requireHealthy() {
	if Causes == nil {
		return
	}
	test := nameOf(r.t)
	config, _ := os.ReadFile(filepath.Join(r.Dir, "Caddyfile")) // Spawn wrote it
	fail := func(finding, text string) {
		written, known := meant[finding]
		causes := slices.Concat(Causes[test], Causes["*"])
		if !slices.Contains(causes, finding) && (!known || !strings.Contains(string(config), written)) {
			r.t.Errorf("Caddy has a finding that %s does not cause (lab.Causes): %s", test, text)
		}
	}
	log, _ := r.Log() // there is none where it did not start
	for line := range strings.Lines(log) {
		var found struct{ Logger, Msg string }
		if json.Unmarshal([]byte(line), &found) == nil && found.Logger == "sockopt.findings" {
			name, _, _ := strings.Cut(found.Msg, ":")
			fail(name, line)
		}
	}
	var now struct {
		Findings []struct{ Finding, Evidence string }
	}
	_, answer, err := r.askOnce(context.Background(), http.MethodGet, "/sockopt/findings?during=0s", "", "")
	if err != nil || json.Unmarshal([]byte(answer), &now) != nil {
		return // it has ended
	}
	for _, found := range now.Findings {
		fail(found.Finding, found.Finding+": "+found.Evidence)
	}
}
