package options

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// What the targets have found of interest in minutes is in testdata/fuzz, and runs with
// the other tests. More minutes of one, where .ci/long runs them all:
//
//	go test -run '^$' -fuzz '^FuzzJSON$' -fuzztime 5m ./options

// FuzzCaddyfile reads what follows a directive's name. What the grammar takes, JSON
// takes, too; and options are printed as lines that the grammar takes.
func FuzzCaddyfile(f *testing.F) {
	f.Add("")
	f.Add(block("nodelay on", "quickack auto", "recv_buffer 256KiB", "send_buffer 1MiB", "on_unsupported warn"))
	for _, bad := range badCaddyfiles {
		f.Add(bad.follows)
	}
	for name, e := range lab.Expectations {
		f.Add(block(name + " " + e.Sample))
	}
	f.Fuzz(func(t *testing.T, follows string) {
		o, err := parse(Listen|Accept, follows)
		if err == nil {
			requireThroughJSON(t, o)
			requireThroughCaddyfile(t, o)
		}
	})
}

// FuzzJSON reads the JSON of options. What JSON takes, it writes again; and options
// that can be set at all are printed as lines that the Caddyfile's grammar takes.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{
		`{}`,
		`{"nodelay":true,"quickack":"auto","recv_buffer":262144,"send_buffer":"1MiB","on_unsupported":"fail"}`,
		`{"nodelay":null,"recv_buffer":null}`,
		`{"metrics":false,"raw":[]}`,
	} {
		f.Add(text)
	}
	for name, e := range lab.Expectations {
		for _, value := range e.JSON {
			f.Add(fmt.Sprintf(`{"%s":%s}`, name, value))
		}
	}
	for _, values := range notJSON {
		for _, value := range values {
			f.Add(fmt.Sprintf(`{"recv_buffer":%s}`, value))
		}
	}
	for value := range notRawJSON {
		f.Add(fmt.Sprintf(`{"raw":%s}`, value))
	}
	f.Fuzz(func(t *testing.T, text string) {
		o := new(Options)
		if o.Unmarshal([]byte(text), Listen|Accept) != nil {
			return
		}
		requireThroughJSON(t, o)
		if o.Metrics != nil && !*o.Metrics {
			o.Metrics = nil // the Caddyfile cannot say it
		}
		if o.check(Listen|Accept) == nil {
			requireThroughCaddyfile(t, o)
		}
	})
}

// FuzzSize reads a size. What it prints is read as the same size.
func FuzzSize(f *testing.F) {
	for _, text := range append(notSizes, "0", "10000", "64KiB", "1.5 MB", "7EiB", "9223372036854775807") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size, err := ParseSize(text)
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, size, Size(0))
		again, err := ParseSize(size.String())
		require.NoError(t, err)
		require.Equal(t, size, again)

		quoted, err := json.Marshal(text)
		require.NoError(t, err)
		var same Size
		require.NoError(t, json.Unmarshal(quoted, &same))
		require.Equal(t, size, same)
	})
}

// FuzzValue reads a value of each option. What it prints is read as the same value,
// in JSON, too; and the kernel is asked for no other, but for a duration that its unit
// rounds up.
func FuzzValue(f *testing.F) {
	for _, e := range lab.Expectations {
		f.Add(e.Sample)
		for _, value := range e.Refused {
			f.Add(value)
		}
	}
	for _, words := range notValues {
		for _, word := range words {
			f.Add(word)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range rows {
			words := []string{text}
			if r.words > 1 {
				words = strings.Fields(text)
			}
			o := new(Options)
			if len(words) != r.words || r.parse(o, words) != nil {
				continue
			}
			e := r.effects(o)[0]
			require.NoError(t, r.check(o))
			again := new(Options)
			require.NoError(t, r.parse(again, strings.Fields(e.Requested)))
			require.Equal(t, o, again, r.name)
			requireThroughJSON(t, o)
			if r.option.Name == "" || r.option.Is(socket.QuickAck) {
				continue // the kernel does not have the value
			}
			if r.repeats() {
				continue
			}
			asked := r.show(e.setting.Value)
			if r.want != wantDuration {
				require.Equal(t, e.Requested, asked, r.name)
				continue
			}
			rounded, err := ParseDuration(asked)
			require.NoError(t, err)
			requested, err := ParseDuration(e.Requested)
			require.NoError(t, err)
			require.GreaterOrEqual(t, rounded, requested, r.name)
		}
	})
}

func requireThroughJSON(t *testing.T, o *Options) {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	again := new(Options)
	require.NoError(t, json.Unmarshal(text, again))
	require.Equal(t, o, again)
}

func requireThroughCaddyfile(t *testing.T, o *Options) {
	t.Helper()
	again, err := parse(Listen|Accept, block(o.caddyfile()))
	require.NoError(t, err)
	require.Equal(t, o, again)
}
