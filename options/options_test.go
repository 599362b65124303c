package options

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
)

// expected is what is to be true of a row, stated once more and independently.
type expected struct {
	kernel string // the kernel's name; none where the option is not the kernel's business
	phases string // the initials of listen, accept, dial and route

	// sample is a value that differs from what a socket has without the option,
	// json the same value in JSON, first as it is printed.
	sample string
	json   []string
}

// expectations has a line for each row.
var expectations = map[string]expected{
	"nodelay":            {"TCP_NODELAY", "ADR", "off", []string{`false`}},
	"quickack":           {"TCP_QUICKACK", "AD", "off", []string{`"off"`}},
	"delayed_ack_max":    {"TCP_DELACK_MAX_US", "ADR", "40ms", []string{`"40ms"`, `40000000`, `"0.04s"`}},
	"notsent_lowat":      {"TCP_NOTSENT_LOWAT", "ADR", "128KiB", []string{`131072`, `"128KiB"`, `"131072"`}},
	"cork":               {"TCP_CORK", "R", "on", []string{`true`}},
	"busy_poll":          {"SO_BUSY_POLL", "AD", "50us", []string{`"50us"`, `"50µs"`}},
	"recv_buffer":        {"SO_RCVBUF", "LAD", "96KiB", []string{`98304`, `"96KiB"`}},
	"send_buffer":        {"SO_SNDBUF", "LADR", "192KiB", []string{`196608`, `"192KiB"`}},
	"congestion":         {"TCP_CONGESTION", "LADR", "reno", []string{`"reno"`}},
	"pacing_rate":        {"SO_MAX_PACING_RATE", "ADR", "10MiB", []string{`10485760`, `"10MiB"`}},
	"window_clamp":       {"TCP_WINDOW_CLAMP", "ADR", "48KiB", []string{`49152`, `"48KiB"`}},
	"max_segment":        {"TCP_MAXSEG", "L", "1200", []string{`1200`, `"1200"`, `"1.2kB"`}},
	"thin_stream":        {"TCP_THIN_LINEAR_TIMEOUTS", "ADR", "on", []string{`true`}},
	"keepalive":          {"SO_KEEPALIVE", "AD", "off", []string{`false`}},
	"keepalive_idle":     {"TCP_KEEPIDLE", "AD", "2m", []string{`"2m"`, `120000000000`, `"120s"`}},
	"keepalive_interval": {"TCP_KEEPINTVL", "AD", "7s", []string{`"7s"`, `7000000000`}},
	"keepalive_count":    {"TCP_KEEPCNT", "AD", "5", []string{`5`, `"5"`, `"0x5"`}},
	"user_timeout":       {"TCP_USER_TIMEOUT", "ADR", "30s", []string{`"30s"`, `30000000000`}},
	"linger":             {"SO_LINGER", "A", "5s", []string{`"5s"`, `5000000000`}},
	"fin_timeout":        {"TCP_LINGER2", "AD", "30s", []string{`"30s"`, `30000000000`}},
	"rto_min":            {"TCP_RTO_MIN_US", "ADR", "60ms", []string{`"60ms"`, `60000000`}},
	"rto_max":            {"TCP_RTO_MAX_MS", "ADR", "10s", []string{`"10s"`, `10000000000`}},
	"dscp":               {"IP_TOS, IPV6_TCLASS", "ADR", "ef", []string{`"ef"`, `46`, `"46"`}},
	"priority":           {"SO_PRIORITY", "ADR", "3", []string{`3`, `"3"`}},
	"mark":               {"SO_MARK", "ADR", "0x2a", []string{`42`, `"0x2a"`, `"42"`}},
	"ttl":                {"IP_TTL, IPV6_UNICAST_HOPS", "AD", "42", []string{`42`, `"42"`}},
	"backlog":            {"listen(2)", "L", "7", []string{`7`, `"7"`}},
	"defer_accept":       {"TCP_DEFER_ACCEPT", "L", "3s", []string{`"3s"`, `3000000000`}},
	"fastopen":           {"TCP_FASTOPEN", "L", "16", []string{`16`, `"16"`}},
	"raw": {"any", "LADR", "6 18 30000", []string{
		`[{"level":6,"option":18,"value":30000}]`,
		`[{"level":"6","option":"0x12","value":"30000"}]`,
	}},
	"metrics":        {"", "AD", "", []string{`true`}},
	"on_unsupported": {"", "LADR", "warn", []string{`"warn"`}},
}

// expect returns what is to be true of r, and options with its sample.
func expect(t *testing.T, r row) (expected, *Options) {
	t.Helper()
	want, ok := expectations[r.name]
	require.True(t, ok, "%s needs a line in expectations", r.name)
	o := new(Options)
	require.NoError(t, r.parse(o, strings.Fields(want.sample)))
	return want, o
}

// initials writes phases as expected does.
func initials(set phase) (text string) {
	for _, p := range each(set) {
		text += map[phase]string{listen: "L", accept: "A", dial: "D", route: "R"}[p]
	}
	return text
}

func TestEveryFieldHasARow(t *testing.T) {
	var tags, named []string
	for field := range reflect.TypeFor[Options]().Fields() {
		tag, rest, _ := strings.Cut(field.Tag.Get("json"), ",")
		require.Equal(t, "omitempty", rest, "%s: an option that is not set must not be printed", field.Name)
		require.Contains(t, []reflect.Kind{reflect.Pointer, reflect.Slice}, field.Type.Kind(), "%s: unset is not zero", field.Name)
		tags = append(tags, tag)
	}
	for _, r := range rows {
		named = append(named, r.name)
	}
	require.Equal(t, tags, named, "the fields of Options and the rows, in the same order")
}

func TestRows(t *testing.T) {
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			require.NotEmpty(t, r.doc)
			require.NotContains(t, r.doc, "\n")
			require.False(t, r.isSet(new(Options)), "unset is not zero")

			want, o := expect(t, r)
			require.Equal(t, want.kernel, r.option.Name)
			require.Equal(t, want.phases, initials(r.phases))
			require.Equal(t, r.option.Name != "", r.since != "", "the version of Linux")
			require.True(t, r.isSet(o))
			uses := r.uses(o, r.option)
			require.Len(t, uses, 1)
			require.NoError(t, uses[0].err)
			require.Equal(t, want.sample, uses[0].text)
			require.Equal(t, strings.TrimSpace(r.name+" "+want.sample)+"\n", o.caddyfile())

			text, err := json.Marshal(o)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf(`{"%s":%s}`, r.name, want.json[0]), string(text))
			for _, value := range want.json {
				again := new(Options)
				require.NoError(t, caddy.StrictUnmarshalJSON(fmt.Appendf(nil, `{"%s":%s}`, r.name, value), again))
				require.Equal(t, o, again, value)
			}
		})
	}
}

// TestRawRepeats: the one option that may be named again.
func TestRawRepeats(t *testing.T) {
	w := new(ListenerWrapper)
	lines := "raw 6 18 30000\nraw 1 12 3\nraw 6 18 -1\n"
	require.NoError(t, unmarshal(w, "sockopt {\n"+lines+"}"))
	require.Equal(t, lines, w.caddyfile())
	text, err := json.Marshal(w)
	require.NoError(t, err)
	require.JSONEq(t, `{"raw":[
		{"level":6,"option":18,"value":30000},
		{"level":1,"option":12,"value":3},
		{"level":6,"option":18,"value":-1}
	]}`, string(text))
}

// caddyfile returns the named options as lines that parse to the same options.
func (o Options) caddyfile() string {
	var b strings.Builder
	for _, r := range rows {
		if !r.isSet(&o) {
			continue
		}
		for _, u := range r.uses(&o, r.option) {
			b.WriteString(strings.TrimSpace(r.name+" "+u.text) + "\n")
		}
	}
	return b.String()
}
