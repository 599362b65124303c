package lab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Entry is an entry of the plugin in Caddy's log.
type Entry struct {
	Message   string `json:"msg"`
	Option    string `json:"option"`
	Kernel    string `json:"kernel"`
	Error     string `json:"error"`
	Requested string `json:"requested"`
	Effective string `json:"effective"`
	QuickAck  string `json:"quickack"`

	Server  string `json:"server"`
	Address string `json:"address"`
	Wrapper string `json:"wrapper"`
}

// ours are parts of the names of the plugin's loggers.
var ours = []string{"sockopt", "tcp_info", "echo_payload"}

// requireNames fails the test for a line of the plugin that does not say which server and
// address it is about, or names an option otherwise than the configuration and the kernel.
func (r *Running) requireNames() {
	text, err := r.Log()
	if err != nil { // it did not start
		return
	}
	for line := range strings.Lines(text) {
		fields := make(map[string]any)
		if json.Unmarshal([]byte(line), &fields) != nil {
			continue
		}
		logger, _ := fields["logger"].(string)
		if !slices.ContainsFunc(ours, func(name string) bool { return strings.Contains(logger, name) }) {
			continue
		}
		assert.Contains(r.t, fields, "server", line)
		assert.Contains(r.t, fields, "address", line)
		assert.Equal(r.t, fields["option"] != nil, fields["kernel"] != nil, line)
		if option, ok := fields["option"].(string); ok {
			assert.Regexp(r.t, "^[a-z_]+$", option, line)
		}
	}
}

// Entries returns what the plugin has logged at a level, but for what it covers and finds: many
// tests have servers with and without it, and findings have a check of their own.
func (r *Running) Entries(level string) (all []Entry) {
	r.t.Helper()
	others := []string{"sockopt.coverage", "sockopt.findings"}
	for line := range strings.Lines(r.Logged()) {
		var e struct {
			Level  string `json:"level"`
			Logger string `json:"logger"`
			Entry
		}
		require.NoError(r.t, json.Unmarshal([]byte(line), &e))
		if e.Level == level && strings.Contains(e.Logger, "sockopt") && !slices.Contains(others, e.Logger) {
			all = append(all, e.Entry)
		}
	}
	return all
}

// Warnings returns the plugin's warnings, and fails the test for its errors.
func (r *Running) Warnings() []Entry {
	r.t.Helper()
	require.Empty(r.t, r.Entries("error"))
	return r.Entries("warn")
}

// Metric returns the value of the plugin's metric, whose name follows caddy_sockopt_, and
// whether it is there.
func (r *Running) Metric(name, labels string) (value float64, ok bool) {
	r.t.Helper()
	_, text := r.API(http.MethodGet, "/metrics", "", "")
	for line := range strings.Lines(text) {
		series, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(series, "caddy_sockopt_"+name+"{") && strings.Contains(series, labels) {
			_, err := fmt.Sscan(number, &value)
			require.NoError(r.t, err)
			return value, true
		}
	}
	return 0, false
}

// Heap returns the bytes that live on the heap of Caddy.
func (r *Running) Heap() float64 {
	r.t.Helper()
	// What a sync.Pool holds survives one collection.
	r.API(http.MethodGet, "/debug/pprof/heap?gc=1", "", "")
	_, profile := r.API(http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", "", "")
	return Figure(r.t, profile, `# HeapAlloc = (\d+)`)
}

// CPU returns the seconds of CPU time that Caddy's process has used.
func (r *Running) CPU() float64 {
	r.t.Helper()
	_, metrics := r.API(http.MethodGet, "/metrics", "", "")
	return Figure(r.t, metrics, `(?m)^process_cpu_seconds_total (\S+)`)
}
