package sockopt

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
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
		"listener", listen | accept, lab.Block, 2,
		func(text string) string { return "{" + text + "}" },
		func() (caddyfile.Unmarshaler, *Options) { w := new(ListenerWrapper); return w, &w.Options },
		func(s *site, follows string) string { return s.with("sockopt" + follows) },
	},
	{
		"transport", dial, func(lines ...string) string { return lab.Block("socket" + lab.Block(lines...)) }, 3,
		func(text string) string { return `{"socket":{` + text + `}}` },
		func() (caddyfile.Unmarshaler, *Options) { t := new(Transport); return t, &t.Socket },
		func(s *site, follows string) string {
			return s.config("", proxySite("http://"+s.addr, "sockopt"+follows))
		},
	},
	{
		"route", route, lab.Block, 2,
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
	wantRaw:        nil, // three words: notRaw
}

// notRaw are lines of the Caddyfile that are no raw option, and why.
var notRaw = map[string]string{
	`"" 18 1`:                 `"" is not a number such as 42 or 0x2a`,
	"tcp 18 1":                `"tcp" is not a number such as 42 or 0x2a`,
	"6 0x 1":                  `"0x" is not a number such as 42 or 0x2a`,
	"6 18 1.5":                `"1.5" is not a number such as 42 or 0x2a`,
	"6 18 1\xff":              "\"1\ufffd\" is not a number such as 42 or 0x2a",
	"-1 18 1":                 "level -1 is not from 0 to 2147483647",
	"2147483648 18 1":         "level 2147483648 is not from 0 to 2147483647",
	"6 -1 1":                  "option -1 is not from 0 to 2147483647",
	"6 0x80000000 1":          "option 2147483648 is not from 0 to 2147483647",
	"6 18 0xffffffff":         "value 4294967295 is not from -2147483648 to 2147483647",
	"6 18 -2147483649":        "value -2147483649 is not from -2147483648 to 2147483647",
	"6 18 0x8000000000000000": `"0x8000000000000000" is not a number such as 42 or 0x2a`,
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
	"mark":               {[]string{"-1", "0x100000000"}, "0x0 to 0xffffffff"},
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
		if r.want() == wantRaw {
			for line, why := range notRaw {
				refused(r.name+": "+why, r.name+" "+line)
				refused(r.name+": "+why, r.name+" "+sample, r.name+" "+line)
			}
		}
		limits, limited := outOfRange[r.name]
		for _, value := range limits.values {
			refused(fmt.Sprintf("%s: %s is not from %s; leave the option out for the kernel's default", r.name, printed(t, r, value), limits.within),
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
	onOff.want:       {`"on"`, `1`, `[true]`, `{}`, "\"on\xff\""},
	mention{}.want(): {`"on"`, `""`, `1`, `[true]`, `{}`, "\"on\xff\""},
	ackModes.want:    {`true`, `1`, `["on"]`, `{}`, `"AUTO"`, `"on\ufffd"`, "\"on\xff\""},
	reactions.want:   {`true`, `0`, `["warn"]`, `{}`, `"WARN"`, "\"warn\xff\""},
	wantSize:         {`true`, `[1]`, `{}`, `1.5`, `1e3`, `-1`, `9223372036854775808`, `"-1"`, `""`, `"1XB"`, "\"1\xffMB\""},
	wantDuration:     {`true`, `[1]`, `{}`, `1.5`, `1e9`, `-1`, `9223372036854775808`, `"-1s"`, `""`, `"30"`, "\"1\xffs\""},
	wantNumber:       {`true`, `[1]`, `{}`, `1.5`, `1e3`, `9223372036854775808`, `"1.5"`, `""`, `"0x"`, "\"1\xff\""},
	wantDSCP:         {`true`, `[1]`, `{}`, `1.5`, `1e1`, `-1`, `64`, `"64"`, `"EF"`, `""`, "\"ef\xff\""},
	names.want:       {`true`, `1`, `["bbr"]`, `{}`, `""`, `"two words"`, "\"bbr\xff\""},
	wantRaw:          nil, // notRawJSON
}

// notRawJSON are values that the list of raw options cannot have, and why.
var notRawJSON = map[string]string{
	`true`:                                   `true is not a list such as [` + wantRawJSON + `]`,
	`1`:                                      `1 is not a list such as [` + wantRawJSON + `]`,
	`"6 18 1"`:                               `"6 18 1" is not a list such as [` + wantRawJSON + `]`,
	`{}`:                                     `{} is not a list such as [` + wantRawJSON + `]`,
	`[1]`:                                    `1 is not ` + wantRawJSON,
	`[[]]`:                                   `[] is not ` + wantRawJSON,
	`[null]`:                                 `null is not ` + wantRawJSON,
	`[{}]`:                                   `level is missing; raw takes level, option and value, such as 6 18 30000`,
	`[{"level":6}]`:                          `option is missing; raw takes level, option and value, such as 6 18 30000`,
	`[{"level":6,"option":18,"value":null}]`: `value null is not a number such as 42 or 0x2a`,
	`[{"level":6,"option":18,"value":true}]`: `value true is not a number such as 42 or 0x2a`,
	`[{"level":6,"option":1.5,"value":1}]`:   `option 1.5 is not a number such as 42 or 0x2a`,
	"[{\"level\":6,\"option\":18,\"value\":\"\xff\"}]":            `value "`,
	`[{"level":6,"option":18,"value":1,"length":4}]`:              `unknown "length" in {"level":6,"option":18,"value":1,"length":4}; it is not ` + wantRawJSON,
	`[{"level":-1,"option":18,"value":1}]`:                        `level -1 is not from 0 to 2147483647`,
	`[{"level":6,"option":"0x80000000","value":1}]`:               `option 2147483648 is not from 0 to 2147483647`,
	`[{"level":6,"option":18,"value":2147483648}]`:                `value 2147483648 is not from -2147483648 to 2147483647`,
	`[{"level":6,"option":18,"value":-2147483649}]`:               `value -2147483649 is not from -2147483648 to 2147483647`,
	`[{"level":6,"option":18,"value":1},{"level":6,"option":18}]`: `value is missing; raw takes level, option and value, such as 6 18 30000`,
}

// printed is how an error prints a value of an option: a mark with the digits of 0x2a.
func printed(t *testing.T, r row, value string) string {
	t.Helper()
	if r.name != "mark" {
		return value
	}
	n, err := ParseNumber(value)
	require.NoError(t, err)
	return fmt.Sprintf("%#x", int64(n))
}

// jsonNumber writes a value of an option as a number of JSON. A duration below a
// millisecond has none that it could be mistaken for.
func jsonNumber(t *testing.T, r row, value string) (number string, ok bool) {
	t.Helper()
	switch r.want() {
	case wantSize:
		size, err := ParseSize(value)
		require.NoError(t, err)
		return fmt.Sprint(int64(size)), true
	case wantDuration:
		duration, err := ParseDuration(value)
		require.NoError(t, err)
		return fmt.Sprint(int64(duration)), duration >= Duration(time.Millisecond)
	default:
		n, err := ParseNumber(value)
		require.NoError(t, err)
		return fmt.Sprint(int64(n)), true
	}
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
			case !utf8.ValidString(value) || strings.Contains(value, `\`):
				refused(value, `"`) // and what is left of it in UTF-8
			default:
				refused(value, value+" is not ")
			}
		}
		if r.want() == wantRaw {
			for value, why := range notRawJSON {
				refused(value, why)
			}
		}
		for _, value := range outOfRange[r.name].values {
			within := printed(t, r, value) + " is not from " + outOfRange[r.name].within
			refused(jsonQuoted(value), within)
			if number, ok := jsonNumber(t, r, value); ok {
				refused(number, within)
			}
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
	_, before := s.API(http.MethodGet, "/config/", "", "")
	refused := func(t *testing.T, contentType, body, want string) {
		t.Helper()
		status, answer := s.Load(contentType, body)
		require.Equal(t, http.StatusBadRequest, status, answer)
		require.Contains(t, answer, jsonText(want))
		client.get(t)
		_, after := s.API(http.MethodGet, "/config/", "", "")
		require.Equal(t, before, after)
	}
	everywhere(t, func(t *testing.T, p place, r row) {
		bad, why := strings.Repeat(" 1.5", max(1, r.values())), r.name+`: "1.5" is not `
		if r.values() == 0 {
			why = r.name + ` takes no value; "1.5" is too many`
		}
		refused(t, "text/caddyfile", p.config(s, p.follows(r.name+bad)), why)

		adapted, err := inprocess.Adapt(p.config(s, p.follows("on_unsupported fail")))
		require.NoError(t, err)
		for value, why := range map[string]string{"null": "null is not ", "[1.5]": "[1.5] is not "} {
			if r.want() == wantRaw {
				why = strings.NewReplacer("[", "", "]", "").Replace(why) // what is in the list
			}
			body := strings.Replace(string(adapted), `"on_unsupported":"fail"`, fmt.Sprintf(`"%s":%s`, r.name, value), 1)
			require.NotEqual(t, string(adapted), body)
			refused(t, "application/json", body, r.name+": "+why)
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
			adapted, err := inprocess.Adapt(p.config(s, p.follows("user_timeout 1s")))
			require.NoError(t, err)
			load := func(first, second string) (status int, answer string) {
				body := strings.Replace(string(adapted), `"user_timeout":"1s"`,
					fmt.Sprintf(`"user_timeout":%s,"user_timeout":%s`, first, second), 1)
				require.NotEqual(t, string(adapted), body)
				return s.Load("application/json", body)
			}
			status, answer := load(`"2s"`, `"-1s"`)
			require.Equal(t, http.StatusBadRequest, status, answer)
			require.Contains(t, answer, jsonText(`user_timeout: "-1s" is not a duration`))

			status, answer = load(`"-1s"`, `"2s"`)
			require.Equal(t, http.StatusOK, status, answer)
			_, running := s.API(http.MethodGet, "/config/", "", "")
			require.Contains(t, running, `"user_timeout":"2s"`)
			require.NotContains(t, running, "-1s")
		})
	}
}
