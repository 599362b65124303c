package sockopt

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// What the targets have found of interest in minutes is in testdata/fuzz, and runs with
// the other tests. More minutes of one, where .ci/long runs them all:
//
//	go test -run '^$' -fuzz '^FuzzJSON$' -fuzztime 5m .

// FuzzCaddyfile reads what follows a directive's name. What the grammar takes,
// JSON holds, too; and options are printed as lines that the grammar takes.
func FuzzCaddyfile(f *testing.F) {
	for _, follows := range []string{
		"",
		lab.Block("nodelay on", "quickack auto", "recv_buffer 256KiB", "send_buffer 1MiB", "on_unsupported warn"),
		" 10000" + lab.Block("fill x", "content_type text/html", "write_size 1KiB", "flush_headers"),
		lab.Block(`fill "}"`, "size `1.5 MB`"),
	} {
		f.Add(follows)
	}
	for _, bad := range badCaddyfiles {
		f.Add(bad.follows)
	}
	for name, e := range expectations {
		f.Add(lab.Block(name + " " + e.sample))
	}
	f.Fuzz(func(t *testing.T, follows string) {
		w := new(ListenerWrapper)
		if unmarshal(w, "sockopt"+follows) == nil {
			requireThroughJSON(t, w, new(ListenerWrapper))
			requireThroughCaddyfile(t, w.Options)
		}
		e := new(EchoPayload)
		if unmarshal(e, "echo_payload"+follows) == nil {
			requireThroughJSON(t, e, new(EchoPayload))
		}
	})
}

// FuzzJSON reads the JSON of a module. What JSON takes, it writes again; and
// options that can be set at all are printed as lines that the Caddyfile's grammar
// takes.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{
		`{}`,
		`{"nodelay":true,"quickack":"auto","recv_buffer":262144,"send_buffer":"1MiB","on_unsupported":"fail"}`,
		`{"nodelay":null,"recv_buffer":null}`,
		`{"metrics":false,"raw":[]}`,
		`{"size":10000,"fill":"x","content_type":"text/html","write_size":"1KiB","flush_headers":true}`,
	} {
		f.Add(text)
	}
	for _, bad := range badJSON {
		f.Add("{" + bad.fields + "}")
	}
	for name, e := range expectations {
		for _, value := range e.json {
			f.Add(fmt.Sprintf(`{"%s":%s}`, name, value))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		w := new(ListenerWrapper)
		if caddy.StrictUnmarshalJSON([]byte(text), w) == nil {
			requireThroughJSON(t, w, new(ListenerWrapper))
			if w.Metrics != nil && !*w.Metrics {
				w.Metrics = nil // the Caddyfile has no word for it
			}
			if w.check(listen|accept) == nil {
				requireThroughCaddyfile(t, w.Options)
			}
		}
		e := new(EchoPayload)
		if caddy.StrictUnmarshalJSON([]byte(text), e) == nil {
			requireThroughJSON(t, e, new(EchoPayload))
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
	for _, e := range expectations {
		f.Add(e.sample)
	}
	for _, words := range notValues {
		for _, word := range words {
			f.Add(word)
		}
	}
	for _, limits := range outOfRange {
		for _, value := range limits.values {
			f.Add(value)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range rows {
			words := []string{text}
			if r.values() > 1 {
				words = strings.Fields(text)
			}
			o := new(Options)
			if len(words) != r.values() || r.parse(o, words) != nil {
				continue
			}
			u := r.uses(o, r.option)[0]
			require.NoError(t, u.err)
			again := new(Options)
			require.NoError(t, r.parse(again, strings.Fields(u.text)))
			require.Equal(t, o, again, r.name)
			requireThroughJSON(t, o, new(Options))
			if r.option.Name == "" || u.upkeep {
				continue // what the kernel is not asked for
			}
			asked := u.prefix + r.show(u.setting.Value)
			if r.want() != wantDuration {
				require.Equal(t, u.text, asked, r.name)
				continue
			}
			rounded, err := ParseDuration(asked)
			require.NoError(t, err)
			requested, err := ParseDuration(u.text)
			require.NoError(t, err)
			require.GreaterOrEqual(t, rounded, requested, r.name)
		}
	})
}

// unmarshal reads a directive.
func unmarshal(module caddyfile.Unmarshaler, text string) error {
	tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
	if err != nil {
		return err
	}
	return module.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens))
}

func requireThroughJSON[T any](t *testing.T, module, again T) {
	t.Helper()
	text, err := json.Marshal(module)
	require.NoError(t, err)
	require.NoError(t, caddy.StrictUnmarshalJSON(text, again))
	require.Equal(t, module, again)
}

func requireThroughCaddyfile(t *testing.T, o Options) {
	t.Helper()
	again := new(ListenerWrapper)
	require.NoError(t, unmarshal(again, "sockopt {\n"+o.caddyfile()+"}"))
	require.Equal(t, o, again.Options)
}
