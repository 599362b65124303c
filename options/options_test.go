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

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// expect returns what the row of r must say, and options with its sample.
func expect(t testing.TB, r row) (lab.Expected, *Options) {
	t.Helper()
	const table = "Expectations in internal/lab/expectations.go"
	want, ok := lab.Expectations[r.name]
	require.True(t, ok, "add a line %q to %s", r.name, table)
	require.Len(t, strings.Fields(want.Sample), r.words, "the line %q of %s needs a sample", r.name, table)
	require.NotEmpty(t, want.JSON, "the line %q of %s needs the sample in JSON", r.name, table)
	require.Equal(t, r.option.Name == "", want.Effective == "", "the line %q of %s needs what getsockopt reads of the sample", r.name, table)
	switch r.want {
	case wantSize, wantDuration, wantNumber:
		require.NotEmpty(t, want.Refused, "the line %q of %s needs values out of the range", r.name, table)
	}
	o := new(Options)
	require.NoError(t, r.parse(o, strings.Fields(want.Sample)), "the sample in the line %q of %s", r.name, table)
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
		for _, e := range r.effects(o) {
			b.WriteString(strings.TrimSpace(r.name+" "+e.Requested) + "\n")
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
	for name := range lab.Expectations {
		require.Contains(t, named, name, "Expectations in internal/lab/expectations.go has an option that is not in options/options.go")
	}
}

func TestRows(t *testing.T) {
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			require.NotNil(t, r.kind.parse, "the row needs a kind")
			require.NotEmpty(t, r.doc, "the row needs a doc")
			require.NotContains(t, r.doc, "\n")
			require.False(t, r.isSet(new(Options)), "unset is not zero")

			want, o := expect(t, r)
			require.Equal(t, want.Kernel, r.option.Name)
			require.Equal(t, want.Phases, letters(r.phases))
			require.Equal(t, r.option.Name != "", r.since != "", "since is the version of Linux that has the option")
			require.True(t, r.isSet(o))
			effects := r.effects(o)
			require.Len(t, effects, 1)
			require.NoError(t, r.check(o))
			require.Equal(t, want.Sample, effects[0].Requested)
			printed := strings.TrimSpace(r.name + " " + want.Sample)
			require.Equal(t, printed+"\n", o.caddyfile())
			again, err := parse(r.phases, block(printed))
			require.NoError(t, err)
			require.Equal(t, o, again)

			text, err := json.Marshal(o)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf(`{"%s":%s}`, r.name, want.JSON[0]), string(text))
			for _, value := range want.JSON {
				again, err := unmarshal(r.phases, fmt.Sprintf(`{"%s":%s}`, r.name, value))
				require.NoError(t, err)
				require.Equal(t, o, again, value)
			}
		})
	}
}

// TestRawRepeats: raw is the one option that may be set more than once.
func TestRawRepeats(t *testing.T) {
	lines := []string{"raw 0 10 0", "raw 1 49 3", "raw 0 10 -1"}
	o, err := parse(Accept, block(lines...))
	require.NoError(t, err)
	require.Equal(t, strings.Join(lines, "\n")+"\n", o.caddyfile())
	text, err := json.Marshal(o)
	require.NoError(t, err)
	require.JSONEq(t, `{"raw":[
		{"level":0,"option":10,"value":0},
		{"level":1,"option":49,"value":3},
		{"level":0,"option":10,"value":-1}
	]}`, string(text))
}

// letters are phases as the table of options has them.
func letters(p Phase) (letters string) {
	for _, one := range phases {
		if p&one.Phase != 0 {
			letters += strings.ToUpper(one.name[:1])
		}
	}
	return letters
}
