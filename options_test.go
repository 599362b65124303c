package sockopt

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// expected is what is to be true of a row, stated once more and independently.
type expected struct {
	kernel string // the kernel's name; none where the option is not the kernel's business
	phases string // the initials of listen, accept, dial and route

	// sample is a value that differs from what a socket has without the option.
	sample string
}

// expectations has a line for each row.
var expectations = map[string]expected{
	"nodelay":        {"TCP_NODELAY", "ADR", "off"},
	"quickack":       {"TCP_QUICKACK", "AD", "off"},
	"recv_buffer":    {"SO_RCVBUF", "LAD", "96KiB"},
	"send_buffer":    {"SO_SNDBUF", "LADR", "192KiB"},
	"on_unsupported": {"", "LADR", "warn"},
}

// expect returns what is to be true of r, and options with its sample.
func expect(t *testing.T, r row) (expected, *Options) {
	t.Helper()
	want, ok := expectations[r.name]
	require.True(t, ok, "%s needs a line in expectations", r.name)
	o := new(Options)
	require.NoError(t, r.parse(o, want.sample))
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
		require.Equal(t, reflect.Pointer, field.Type.Kind(), "%s: unset is not zero", field.Name)
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
			require.True(t, r.isSet(o))
			require.NoError(t, r.check(o))
			require.Equal(t, want.sample, r.text(o))
			require.Equal(t, fmt.Sprintf("%s %s\n", r.name, want.sample), o.caddyfile())

			text, err := json.Marshal(o)
			require.NoError(t, err)
			var fields map[string]any
			require.NoError(t, json.Unmarshal(text, &fields))
			require.Len(t, fields, 1)
			require.Contains(t, fields, r.name, "the row of another field")

			r.unset(o)
			require.Equal(t, new(Options), o)
		})
	}
}
