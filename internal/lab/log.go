package lab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"
)

// Entry is an entry of the plugin in Caddy's log.
type Entry struct {
	Message   string `json:"msg"`
	Option    string `json:"option"`
	Error     string `json:"error"`
	Requested string `json:"requested"`
	Effective string `json:"effective"`
	QuickAck  string `json:"quickack"`

	Server    string   `json:"server"`
	Addresses []string `json:"addresses"`
	Wrapper   string   `json:"wrapper"`
}

// Entries returns what the plugin has logged at a level.
func (r *Running) Entries(level string) (all []Entry) {
	r.t.Helper()
	for line := range strings.Lines(r.Logged()) {
		var e struct {
			Level  string `json:"level"`
			Logger string `json:"logger"`
			Entry
		}
		require.NoError(r.t, json.Unmarshal([]byte(line), &e))
		if e.Level == level && strings.Contains(e.Logger, "sockopt") {
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
