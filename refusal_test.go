package sockopt

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// place is where options may be named.
type place struct {
	name   string
	phases phase

	// follows is what follows the directive's name when lines stand in its block;
	// the first of them is in this line.
	follows func(lines ...string) string
	line    int

	// members is the JSON of the module with these members of its options.
	members func(text string) string
	module  func() (caddyfile.Unmarshaler, *Options)

	// config is the Caddyfile of a site with the directive.
	config func(s *site, follows string) string
}

var places = []place{
	{
		"listener", listen | accept, block, 2,
		func(text string) string { return "{" + text + "}" },
		func() (caddyfile.Unmarshaler, *Options) { w := new(ListenerWrapper); return w, &w.Options },
		func(s *site, follows string) string { return s.with("sockopt" + follows) },
	},
	{
		"transport", dial, func(lines ...string) string { return block("socket" + block(lines...)) }, 3,
		func(text string) string { return `{"socket":{` + text + `}}` },
		func() (caddyfile.Unmarshaler, *Options) { t := new(Transport); return t, &t.Socket },
		func(s *site, follows string) string {
			return s.config("", proxySite("http://"+s.addr, "sockopt"+follows))
		},
	},
	{
		"route", route, block, 2,
		func(text string) string { return "{" + text + "}" },
		func() (caddyfile.Unmarshaler, *Options) { h := new(Handler); return h, &h.Options },
		func(s *site, follows string) string {
			return s.config("", fmt.Sprintf("http://%s {\nsockopt%s\necho_payload\n}\n", s.addr, follows))
		},
	},
}

// caddyfile reads lines as the options of this place.
func (p place) caddyfile(lines ...string) error {
	module, _ := p.module()
	return unmarshal(module, "sockopt"+p.follows(lines...))
}

// json reads members as the options of this place, and checks them as a load does
// before it asks the kernel.
func (p place) json(members string) error {
	module, options := p.module()
	if err := caddy.StrictUnmarshalJSON([]byte(p.members(members)), module); err != nil {
		return err
	}
	return options.check(p.phases)
}

// everywhere runs a test for each option in each place where it may stand.
func everywhere(t *testing.T, test func(t *testing.T, p place, r row)) {
	t.Helper()
	for _, p := range places {
		for _, r := range rows {
			if r.phases&p.phases != 0 {
				t.Run(p.name+"/"+r.name, func(t *testing.T) { test(t, p, r) })
			}
		}
	}
}

// notValues are words that are no value of an option, by what the option wants.
var notValues = map[string][]string{
	onOff.want:     {"", "true", "1", "ON", "yes", "on,off", "\xff"},
	ackModes.want:  {"", "AUTO", "1", "true", "\xff"},
	reactions.want: {"", "Fail", "ignore", "\xff"},
	wantSize:       append(notSizes, "10s", "\xff", "64K\xffB"),
	wantDuration:   {"", "30", "-1s", "1x", "64KiB", "s", "1,5s", "∞", "1e3s", "3000000h", "200000d", "9999999999h", "0x1s", "1s\xff"},
	wantNumber:     {"", "x", "1.5", "+1", "0x", "0x-1", "0X2A", "0b1", "0o7", "1_000", "2a", "1k", "1s", "9223372036854775808", "0xffffffffffffffff", "\xff"},
	wantDSCP:       {"", "EF", "af44", "cs8", "be", "64", "-1", "1.5", "0x2e", "9223372036854775808", "\xff"},
	names.want:     {"", "sixteen_letters_", "two words", "über", "bbr\xff", "bbr\x00", `"`, "{", "#"},
	wantRaw:        nil, // three words: in the table above
}

// outOfRange are values that the kernel's interface cannot take, and the range.
var outOfRange = map[string]struct {
	values []string
	within string
}{
	"delayed_ack_max":    {[]string{"200.001ms", "201ms", "24h"}, "0s to 200ms"},
	"busy_poll":          {[]string{"35m47.483648s"}, "0s to 35m47.483647s"},
	"rto_min":            {[]string{"200.001ms", "201ms"}, "0s to 200ms"},
	"rto_max":            {[]string{"0s", "999ms", "2m0.001s"}, "1s to 2m"},
	"user_timeout":       {[]string{"596h31m23.648s"}, "0s to 596h31m23.647s"},
	"keepalive_idle":     {[]string{"0s", "999ms", "9h6m8s"}, "1s to 9h6m7s"},
	"keepalive_interval": {[]string{"0s", "999ms", "9h6m8s"}, "1s to 9h6m7s"},
	"linger":             {[]string{"9h6m8s"}, "0s to 9h6m7s"},
	"fin_timeout":        {[]string{"0s", "999ms", "596523h14m8s"}, "1s to 596523h14m7s"},
	"defer_accept":       {[]string{"596523h14m8s"}, "0s to 596523h14m7s"},
	"notsent_lowat":      {[]string{"0", "2GiB"}, "1 to 2147483647 bytes"},
	"recv_buffer":        {[]string{"0", "2GiB", "7EiB"}, "1 to 1073741823 bytes"},
	"send_buffer":        {[]string{"0", "2GiB"}, "1 to 1073741823 bytes"},
	"window_clamp":       {[]string{"0", "2GiB"}, "1 to 2147483647 bytes"},
	"max_segment":        {[]string{"0", "87", "32KiB"}, "88 to 32767 bytes"},
	"pacing_rate":        {[]string{"0"}, "1 to 9223372036854775807 bytes"},
	"keepalive_count":    {[]string{"0", "-1", "128"}, "1 to 127"},
	"priority":           {[]string{"-1", "2147483648"}, "0 to 2147483647"},
	"mark":               {[]string{"0x100000000"}, "0x0 to 0xffffffff"},
	"ttl":                {[]string{"0", "-1", "256"}, "1 to 255"},
	"backlog":            {[]string{"0", "-1", "2147483648"}, "1 to 2147483647"},
	"fastopen":           {[]string{"-1", "2147483648"}, "0 to 2147483647"},
}

// TestEveryOptionRefuses: what the grammar makes of bad lines for each option.
func TestEveryOptionRefuses(t *testing.T) {
	everywhere(t, func(t *testing.T, p place, r row) {
		sample := expectations[r.name].sample
		refused := func(want string, lines ...string) {
			t.Helper()
			require.ErrorContains(t, p.caddyfile(lines...), fmt.Sprintf("%s, at Caddyfile:%d", want, p.line+len(lines)-1), "%q", lines)
		}
		require.ErrorContains(t, p.caddyfile(r.name+" "+sample+" {", "}"), r.name+" takes no block")
		if r.values() == 0 {
			refused(r.name+` takes no value; "on" is too many`, r.name+" on")
			refused(r.name+" is set twice; leave one of them out", r.name, r.name)
			return
		}
		count, more := "one value", "one value, "
		if r.values() == 3 {
			count, more = "three values", "three values, "
		}
		refused(fmt.Sprintf(`%s needs %s: %s`, r.name, count, r.want()), r.name)
		refused(fmt.Sprintf(`%s takes %s%s; "more" is too many`, r.name, more, r.want()), r.name+" "+sample+" more")
		if !r.repeats() {
			refused(r.name+" is set twice; leave one of them out", r.name+" "+sample, r.name+" "+sample)
		}

		words, ok := notValues[r.want()]
		require.True(t, ok, "notValues needs a line for %s", r.want())
		for _, word := range words {
			read := strings.ToValidUTF8(word, "\ufffd") // by Caddy
			err := p.caddyfile(r.name + " `" + word + "`")
			require.ErrorContains(t, err, fmt.Sprintf("%s: %q is not ", r.name, read))
		}
		limits, limited := outOfRange[r.name]
		for _, value := range limits.values {
			refused(fmt.Sprintf("%s: %s is not from %s; leave the option out for the kernel's default", r.name, value, limits.within),
				r.name+" "+value)
		}
		switch r.want() {
		case wantSize, wantDuration, wantNumber:
			require.True(t, limited, "outOfRange needs a line for %s", r.name)
		}
	})
}

// notJSON are values that an option cannot have in JSON, by what it wants.
var notJSON = map[string][]string{
	onOff.want:       {`"on"`, `1`, `[true]`, `{}`},
	mention{}.want(): {`"on"`, `""`, `1`, `[true]`, `{}`},
	ackModes.want:    {`true`, `1`, `["on"]`, `{}`, `"AUTO"`, `"on\ufffd"`, "\"on\xff\""},
	reactions.want:   {`true`, `0`, `["warn"]`, `{}`, `"WARN"`, "\"warn\xff\""},
	wantSize:         {`true`, `[1]`, `{}`, `1.5`, `1e3`, `-1`, `9223372036854775808`, `"-1"`, `""`, `"1XB"`, "\"1\xffMB\""},
	wantDuration:     {`true`, `[1]`, `{}`, `1.5`, `1e9`, `-1`, `9223372036854775808`, `"-1s"`, `""`, `"30"`, "\"1\xffs\""},
	wantNumber:       {`true`, `[1]`, `{}`, `1.5`, `1e3`, `9223372036854775808`, `"1.5"`, `""`, `"0x"`, "\"1\xff\""},
	wantDSCP:         {`true`, `[1]`, `{}`, `1.5`, `1e1`, `-1`, `64`, `"64"`, `"EF"`, `""`, "\"ef\xff\""},
	names.want:       {`true`, `1`, `["bbr"]`, `{}`, `""`, `"two words"`, "\"bbr\xff\""},
	wantRaw: {
		`true`, `1`, `"6 18 1"`, `{}`, `[1]`, `[[]]`, `[{}]`, `[null]`, `[{"level":6}]`,
		`[{"level":6,"option":18,"value":null}]`, "[{\"level\":6,\"option\":18,\"value\":\"\xff\"}]", `[{"level":6,"option":18,"value":1,"length":4}]`,
		`[{"level":6,"option":18,"value":2147483648}]`, `[{"level":-1,"option":18,"value":1}]`, `[{"level":6,"option":1.5,"value":1}]`,
	},
}

// TestEveryOptionRefusesJSON: an error names the option, the value and what it
// could be, whichever option it is.
func TestEveryOptionRefusesJSON(t *testing.T) {
	everywhere(t, func(t *testing.T, p place, r row) {
		refused := func(value, want string) {
			t.Helper()
			require.ErrorContains(t, p.json(fmt.Sprintf(`"%s":%s`, r.name, value)), r.name+": "+want, "%s", value)
		}
		refused("null", "null is not ")
		values, ok := notJSON[r.want()]
		require.True(t, ok, "notJSON needs a line for %s", r.want())
		for _, value := range values {
			switch {
			case r.want() == wantRaw:
				refused(value, "") // its numbers have errors of their own
			case !utf8.ValidString(value) || strings.Contains(value, `\`):
				refused(value, `"`) // and what is left of it in UTF-8
			default:
				refused(value, value+" is not ")
			}
		}
		for _, value := range outOfRange[r.name].values {
			refused(jsonQuoted(value), value+" is not from "+outOfRange[r.name].within)
		}
		capitals := strings.ToUpper(r.name)
		require.ErrorContains(t, p.json(fmt.Sprintf(`"%s":%s`, capitals, expectations[r.name].json[0])),
			fmt.Sprintf("unknown option %q; here it can be %s, ", capitals, rows[0].name))
	})
}

// TestOptionsElsewhereAreRefused: an option that cannot stand in a place is refused
// there with the reason, and so is what is no option at all.
func TestOptionsElsewhereAreRefused(t *testing.T) {
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			_, options := p.module()
			here := "; here it can be " + lineNames(options.lines(p.phases))
			for _, r := range rows {
				if r.phases&p.phases != 0 {
					continue
				}
				want := fmt.Sprintf("%s %s%s", r.name, r.barred(p.phases), here)
				require.ErrorContains(t, p.caddyfile(r.name+" "+expectations[r.name].sample), want)
				require.ErrorContains(t, p.json(fmt.Sprintf(`"%s":%s`, r.name, expectations[r.name].json[0])), want)
			}
			require.ErrorContains(t, p.caddyfile("no_delay on"), `unknown option "no_delay"`+here)
			require.ErrorContains(t, p.caddyfile("nodelay\xff on"), "unknown option \"nodelay\ufffd\""+here)
			require.ErrorContains(t, p.json(`"no_delay":true`), `unknown option "no_delay"`+here)
			require.ErrorContains(t, p.json("\"nodelay\xff\":true"), "unknown option \"nodelay\ufffd\""+here)
		})
	}
	for _, options := range []string{`null`, `true`, `[]`, `"nodelay"`} {
		require.ErrorContains(t, caddy.StrictUnmarshalJSON([]byte(`{"socket":`+options+`}`), new(Transport)),
			options+` is not options, such as {"quickack": "auto"}`)
	}
}

// TestEveryOptionIsRefusedAtLoad has a running Caddy refuse a bad value of each
// option, and go on.
func TestEveryOptionIsRefusedAtLoad(t *testing.T) {
	s, client := serve(t, "sockopt")
	_, before := s.api(http.MethodGet, "/config/", "", "")
	refused := func(t *testing.T, contentType, body, want string) {
		t.Helper()
		status, answer := s.load(contentType, body)
		require.Equal(t, http.StatusBadRequest, status, answer)
		require.Contains(t, answer, jsonText(want))
		client.get(t)
		_, after := s.api(http.MethodGet, "/config/", "", "")
		require.Equal(t, before, after)
	}
	everywhere(t, func(t *testing.T, p place, r row) {
		bad := strings.Repeat(" 1.5", max(1, r.values()))
		refused(t, "text/caddyfile", p.config(s, p.follows(r.name+bad)), r.name)

		adapted, err := adapt(p.config(s, p.follows("on_unsupported fail")))
		require.NoError(t, err)
		for _, value := range []string{"null", "[1.5]"} {
			body := strings.Replace(string(adapted), `"on_unsupported":"fail"`, fmt.Sprintf(`"%s":%s`, r.name, value), 1)
			require.NotEqual(t, string(adapted), body)
			refused(t, "application/json", body, r.name+": ")
		}
	})
}

// TestLastOfTwoCountsInJSON: Caddy has decoded a configuration, and the part of each
// module once more, into maps before a module reads anything, so that of two members
// with one name a module sees the last. The admin API shows no other.
func TestLastOfTwoCountsInJSON(t *testing.T) {
	s, _ := serve(t, "sockopt")
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			adapted, err := adapt(p.config(s, p.follows("user_timeout 1s")))
			require.NoError(t, err)
			load := func(first, second string) (status int, answer string) {
				body := strings.Replace(string(adapted), `"user_timeout":"1s"`,
					fmt.Sprintf(`"user_timeout":%s,"user_timeout":%s`, first, second), 1)
				require.NotEqual(t, string(adapted), body)
				return s.load("application/json", body)
			}
			status, answer := load(`"2s"`, `"-1s"`)
			require.Equal(t, http.StatusBadRequest, status, answer)
			require.Contains(t, answer, jsonText(`user_timeout: "-1s" is not a duration`))

			status, answer = load(`"-1s"`, `"2s"`)
			require.Equal(t, http.StatusOK, status, answer)
			_, running := s.api(http.MethodGet, "/config/", "", "")
			require.Contains(t, running, `"user_timeout":"2s"`)
			require.NotContains(t, running, "-1s")
		})
	}
}
