package options

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// expected is what must be true of a row, stated independently of it.
type expected struct {
	kernel        string // the kernel's name
	level, number int    // both arguments of setsockopt(2); none for a row without a socket option
	phases        string // the initials of listen, accept, dial, route and packet

	// sample is a value that differs from what a socket has without the option, effective
	// what getsockopt(2) reads then, and json the sample in JSON, first as it is printed.
	sample    string
	effective string
	json      []string

	// refused are values out of the range that the kernel's interface takes, and within
	// is that range.
	refused []string
	within  string
}

// Levels of setsockopt(2) on Linux.
const (
	levelIP     = 0
	levelSocket = 1
	levelTCP    = 6
)

// expectations has a line for each row.
var expectations = map[string]expected{
	"nodelay": {
		kernel: "TCP_NODELAY", level: levelTCP, number: 1, phases: "ADR",
		sample: "off", effective: "0", json: []string{`false`, `"off"`},
	},
	"quickack": {
		kernel: "TCP_QUICKACK", level: levelTCP, number: 12, phases: "AD",
		sample: "off", effective: "0", json: []string{`"off"`},
	},
	"delayed_ack_max": {
		kernel: "TCP_DELACK_MAX_US", level: levelTCP, number: 46, phases: "ADR",
		sample: "40ms", effective: "40000", json: []string{`"40ms"`, `40000000`, `"0.04s"`},
		refused: []string{"200.001ms", "201ms", "24h"}, within: "0s to 200ms",
	},
	"notsent_lowat": {
		kernel: "TCP_NOTSENT_LOWAT", level: levelTCP, number: 25, phases: "ADR",
		sample: "128KiB", effective: "131072", json: []string{`131072`, `"128KiB"`, `"131072"`},
		refused: []string{"0", "2GiB"}, within: "1 to 2147483647 bytes",
	},
	"cork": {
		kernel: "TCP_CORK", level: levelTCP, number: 3, phases: "R",
		sample: "on", effective: "1", json: []string{`true`, `"on"`},
	},
	"busy_poll": {
		kernel: "SO_BUSY_POLL", level: levelSocket, number: 46, phases: "ADP",
		sample: "50us", effective: "50", json: []string{`"50us"`, `"50µs"`},
		refused: []string{"35m47.483648s"}, within: "0s to 35m47.483647s",
	},
	"recv_buffer": {
		kernel: "SO_RCVBUF", level: levelSocket, number: 8, phases: "LADP",
		sample: "96KiB", effective: "196608", json: []string{`98304`, `"96KiB"`},
		refused: []string{"0", "2GiB", "7EiB"}, within: "1 to 1073741823 bytes",
	},
	"send_buffer": {
		kernel: "SO_SNDBUF", level: levelSocket, number: 7, phases: "LADRP",
		sample: "192KiB", effective: "393216", json: []string{`196608`, `"192KiB"`},
		refused: []string{"0", "2GiB"}, within: "1 to 1073741823 bytes",
	},
	"congestion": {
		kernel: "TCP_CONGESTION", level: levelTCP, number: 13, phases: "LADR",
		sample: "reno", effective: "reno", json: []string{`"reno"`},
	},
	"pacing_rate": {
		kernel: "SO_MAX_PACING_RATE", level: levelSocket, number: 47, phases: "ADR",
		sample: "10MiB", effective: "10485760", json: []string{`10485760`, `"10MiB"`},
		refused: []string{"0"}, within: "1 to 9223372036854775807 bytes",
	},
	"window_clamp": {
		kernel: "TCP_WINDOW_CLAMP", level: levelTCP, number: 10, phases: "ADR",
		sample: "48KiB", effective: "49152", json: []string{`49152`, `"48KiB"`},
		refused: []string{"0", "2GiB"}, within: "1 to 2147483647 bytes",
	},
	"max_segment": {
		kernel: "TCP_MAXSEG", level: levelTCP, number: 2, phases: "LD",
		sample: "1200", effective: "1200", json: []string{`1200`, `"1200"`, `"1.2kB"`},
		refused: []string{"0", "87", "32KiB"}, within: "88 to 32767 bytes",
	},
	"thin_stream": {
		kernel: "TCP_THIN_LINEAR_TIMEOUTS", level: levelTCP, number: 16, phases: "ADR",
		sample: "on", effective: "1", json: []string{`true`, `"on"`},
	},
	"keepalive": {
		kernel: "SO_KEEPALIVE", level: levelSocket, number: 9, phases: "AD",
		sample: "off", effective: "0", json: []string{`false`, `"off"`},
	},
	"keepalive_idle": {
		kernel: "TCP_KEEPIDLE", level: levelTCP, number: 4, phases: "AD",
		sample: "2m", effective: "120", json: []string{`"2m"`, `120000000000`, `"120s"`},
		refused: []string{"0s", "999ms", "9h6m8s"}, within: "1s to 9h6m7s",
	},
	"keepalive_interval": {
		kernel: "TCP_KEEPINTVL", level: levelTCP, number: 5, phases: "AD",
		sample: "7s", effective: "7", json: []string{`"7s"`, `7000000000`},
		refused: []string{"0s", "999ms", "9h6m8s"}, within: "1s to 9h6m7s",
	},
	"keepalive_count": {
		kernel: "TCP_KEEPCNT", level: levelTCP, number: 6, phases: "AD",
		sample: "5", effective: "5", json: []string{`5`, `"5"`, `"0x5"`},
		refused: []string{"0", "-1", "128"}, within: "1 to 127",
	},
	"user_timeout": {
		kernel: "TCP_USER_TIMEOUT", level: levelTCP, number: 18, phases: "ADR",
		sample: "30s", effective: "30000", json: []string{`"30s"`, `30000000000`},
		refused: []string{"596h31m23.648s"}, within: "0s to 596h31m23.647s",
	},
	"linger": {
		kernel: "SO_LINGER", level: levelSocket, number: 13, phases: "A",
		sample: "5s", effective: "1 5", json: []string{`"5s"`, `5000000000`},
		refused: []string{"9h6m8s"}, within: "0s to 9h6m7s",
	},
	"fin_timeout": {
		kernel: "TCP_LINGER2", level: levelTCP, number: 8, phases: "AD",
		sample: "30s", effective: "30", json: []string{`"30s"`, `30000000000`},
		refused: []string{"0s", "999ms", "596523h14m8s"}, within: "1s to 596523h14m7s",
	},
	"rto_min": {
		kernel: "TCP_RTO_MIN_US", level: levelTCP, number: 45, phases: "ADR",
		sample: "60ms", effective: "60000", json: []string{`"60ms"`, `60000000`},
		refused: []string{"200.001ms", "201ms"}, within: "0s to 200ms",
	},
	"rto_max": {
		kernel: "TCP_RTO_MAX_MS", level: levelTCP, number: 44, phases: "ADR",
		sample: "10s", effective: "10000", json: []string{`"10s"`, `10000000000`},
		refused: []string{"0s", "999ms", "2m0.001s"}, within: "1s to 2m",
	},
	"dscp": {
		kernel: "IP_TOS, IPV6_TCLASS", level: levelIP, number: 1, phases: "ADRP",
		sample: "ef", effective: "184", json: []string{`"ef"`, `46`, `"46"`},
	},
	"priority": {
		kernel: "SO_PRIORITY", level: levelSocket, number: 12, phases: "ADRP",
		sample: "3", effective: "3", json: []string{`3`, `"3"`},
		refused: []string{"-1", "2147483648"}, within: "0 to 2147483647",
	},
	"mark": {
		kernel: "SO_MARK", level: levelSocket, number: 36, phases: "ADRP",
		sample: "0x2a", effective: "42", json: []string{`42`, `"0x2a"`, `"42"`},
		refused: []string{"-1", "0x100000000"}, within: "0x0 to 0xffffffff",
	},
	"ttl": {
		kernel: "IP_TTL, IPV6_UNICAST_HOPS", level: levelIP, number: 2, phases: "ADP",
		sample: "42", effective: "42", json: []string{`42`, `"42"`},
		refused: []string{"0", "-1", "256"}, within: "1 to 255",
	},
	"interface": {
		kernel: "SO_BINDTODEVICE", level: levelSocket, number: 25, phases: "LDP",
		sample: "lo", effective: "lo", json: []string{`"lo"`},
	},
	"local_port_range": {
		kernel: "IP_LOCAL_PORT_RANGE", level: levelIP, number: 51, phases: "D",
		sample: "40000-40019", effective: "-1672242112", json: []string{`"40000-40019"`},
	},
	"syn_count": {
		kernel: "TCP_SYNCNT", level: levelTCP, number: 7, phases: "D",
		sample: "2", effective: "2", json: []string{`2`, `"2"`},
		refused: []string{"0", "128"}, within: "1 to 127",
	},
	"multipath": {
		kernel: "IPPROTO_MPTCP", phases: "LD",
		sample: "on", effective: "1", json: []string{`true`, `"on"`},
	},
	"backlog": {
		kernel: "listen(2)", level: levelTCP, number: 11, phases: "L",
		sample: "7", effective: "7", json: []string{`7`, `"7"`},
		refused: []string{"0", "-1", "2147483648"}, within: "1 to 2147483647",
	},
	"defer_accept": {
		kernel: "TCP_DEFER_ACCEPT", level: levelTCP, number: 9, phases: "L",
		sample: "3s", effective: "3", json: []string{`"3s"`, `3000000000`},
		refused: []string{"596523h14m8s"}, within: "0s to 596523h14m7s",
	},
	"fastopen": {
		kernel: "TCP_FASTOPEN", level: levelTCP, number: 23, phases: "L",
		sample: "16", effective: "16", json: []string{`16`, `"16"`},
		refused: []string{"-1", "2147483648"}, within: "0 to 2147483647",
	},
	"raw": {
		kernel: "any", level: levelTCP, number: 18, phases: "LADRP",
		sample: "6 18 30000", effective: "30000", json: []string{
			`[{"level":6,"option":18,"value":30000}]`,
			`[{"level":"6","option":"0x12","value":"30000"}]`,
		},
	},
	"metrics": {
		phases: "ADP",
		sample: "", json: []string{`true`},
	},
	"on_unsupported": {
		phases: "LADRP",
		sample: "warn", json: []string{`"warn"`},
	},
}

// expect returns what the row of r must say, and options with its sample.
func expect(t testing.TB, r row) (expected, *Options) {
	t.Helper()
	const table = "expectations in options/options_test.go"
	want, ok := expectations[r.name]
	require.True(t, ok, "add a line %q to %s", r.name, table)
	require.Len(t, strings.Fields(want.sample), r.values(), "the line %q of %s needs a sample", r.name, table)
	require.NotEmpty(t, want.json, "the line %q of %s needs the sample in JSON", r.name, table)
	require.Equal(t, r.option.Name == "", want.effective == "", "the line %q of %s needs what getsockopt reads of the sample", r.name, table)
	switch r.want() {
	case wantSize, wantDuration, wantNumber:
		require.NotEmpty(t, want.refused, "the line %q of %s needs values out of the range", r.name, table)
	}
	o := new(Options)
	require.NoError(t, r.parse(o, strings.Fields(want.sample)), "the sample in the line %q of %s", r.name, table)
	return want, o
}

// rowNamed returns the row of an option.
func rowNamed(t testing.TB, name string) row {
	t.Helper()
	i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
	require.GreaterOrEqual(t, i, 0, "there is no row %q in options/options.go", name)
	return rows[i]
}

// block is a block of lines that begin at the left.
func block(lines ...string) string {
	return " {\n" + strings.Join(lines, "\n") + "\n}"
}

// parse reads what follows a directive's name as the options of phases.
func parse(phases Phase, follows string) (*Options, error) {
	tokens, err := caddyfile.Tokenize([]byte("sockopt"+follows), "Caddyfile")
	if err != nil {
		return nil, err
	}
	o, d := new(Options), caddyfile.NewDispenser(tokens)
	d.Next()
	return o, ParseBlock(d, o.Lines(phases))
}

// caddyfile returns options as lines that parse to the same options.
func (o *Options) caddyfile() string {
	var b strings.Builder
	for _, r := range rows {
		if !r.isSet(o) {
			continue
		}
		for _, u := range r.uses(o, r.option) {
			b.WriteString(strings.TrimSpace(r.name+" "+u.text) + "\n")
		}
	}
	return b.String()
}

// unmarshal reads a JSON object as the options of phases, and checks them as a load does
// before it asks the kernel.
func unmarshal(phases Phase, object string) (*Options, error) {
	o := new(Options)
	if err := o.Unmarshal([]byte(object), phases); err != nil {
		return nil, err
	}
	return o, o.check(phases)
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
	require.Equal(t, tags, named, "each field of Options needs a row in options/options.go, in the same order")
	for name := range expectations {
		require.Contains(t, named, name, "expectations in options/options_test.go has an option that is not in options/options.go")
	}
}

func TestRows(t *testing.T) {
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			require.NotNil(t, r.field, "the row needs a field")
			require.NotEmpty(t, r.doc, "the row needs a doc")
			require.NotContains(t, r.doc, "\n")
			require.False(t, r.isSet(new(Options)), "unset is not zero")

			want, o := expect(t, r)
			require.Equal(t, want.kernel, r.option.Name)
			require.Equal(t, want.phases, letters(r.phases))
			require.Equal(t, r.option.Name != "", r.since != "", "since is the version of Linux that has the option")
			require.True(t, r.isSet(o))
			uses := r.uses(o, r.option)
			require.Len(t, uses, 1)
			require.NoError(t, uses[0].err)
			require.Equal(t, want.sample, uses[0].text)
			printed := strings.TrimSpace(r.name + " " + want.sample)
			require.Equal(t, printed+"\n", o.caddyfile())
			again, err := parse(r.phases, block(printed))
			require.NoError(t, err)
			require.Equal(t, o, again)

			text, err := json.Marshal(o)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf(`{"%s":%s}`, r.name, want.json[0]), string(text))
			for _, value := range want.json {
				again, err := unmarshal(r.phases, fmt.Sprintf(`{"%s":%s}`, r.name, value))
				require.NoError(t, err)
				require.Equal(t, o, again, value)
			}
		})
	}
}

// TestRawRepeats: raw is the one option that may be set more than once.
func TestRawRepeats(t *testing.T) {
	lines := []string{"raw 6 18 30000", "raw 1 12 3", "raw 6 18 -1"}
	o, err := parse(Accept, block(lines...))
	require.NoError(t, err)
	require.Equal(t, strings.Join(lines, "\n")+"\n", o.caddyfile())
	text, err := json.Marshal(o)
	require.NoError(t, err)
	require.JSONEq(t, `{"raw":[
		{"level":6,"option":18,"value":30000},
		{"level":1,"option":12,"value":3},
		{"level":6,"option":18,"value":-1}
	]}`, string(text))
}

// letters are phases as the table of options has them.
func letters(p Phase) (letters string) {
	for _, one := range phases {
		if p&one.Phase != 0 {
			letters += one.letter
		}
	}
	return letters
}
