package options

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// blocks are where options stand.
var blocks = []struct {
	name   string
	phases Phase
}{
	{"listener", Listen | Accept},
	{"transport", Dial},
	{"route", Route},
	{"packet", Packet},
}

// everywhere runs a test for each option in each block where it may stand.
func everywhere(t *testing.T, test func(t *testing.T, phases Phase, r row)) {
	t.Helper()
	for _, p := range blocks {
		for _, r := range rows {
			if r.phases&p.phases != 0 {
				t.Run(p.name+"/"+r.name, func(t *testing.T) { test(t, p.phases, r) })
			}
		}
	}
}

// notValues are words that are no value of an option, by what the option wants.
var notValues = map[string][]string{
	onOff.want:      {"", "true", "1", "ON", "yes", "on,off", "\xff"},
	ackModes.want:   {"", "AUTO", "1", "true", "\xff"},
	reactions.want:  {"", "Fail", "ignore", "\xff"},
	wantSize:        append(notSizes, "10s", "\xff", "64K\xffB"),
	wantDuration:    {"", "30", "-1s", "1x", "64KiB", "s", "1,5s", "∞", "1e3s", "3000000h", "200000d", "9999999999h", "0x1s", "1s\xff"},
	wantNumber:      {"", "x", "1.5", "+1", "0x", "0x-1", "0X2A", "0b1", "0o7", "1_000", "2a", "1k", "1s", "9223372036854775808", "0xffffffffffffffff", "\xff"},
	wantDSCP:        {"", "EF", "af44", "cs8", "be", "64", "-1", "1.5", "0x2e", "9223372036854775808", "\xff"},
	names.want:      {"", "sixteen_letters_", "two words", "über", "bbr\xff", "bbr\x00", `"`, "{", "#"},
	interfaces.want: {"", "sixteen-letters-", "two words", "a/b", "a:1", "eth\xff", `"`, "{", "#"},
	wantPortRange:   {"", "40000", "0-1", "2-1", "1-65536", "-1", "1-", "a-b", "1-2-3", "1 - 2", "1:2", "0x1-2", "+1-2", "\xff"},
	wantRaw:         nil, // three words: notRaw
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

// TestEveryOptionRefuses: what the grammar makes of bad lines for each option.
func TestEveryOptionRefuses(t *testing.T) {
	everywhere(t, func(t *testing.T, phases Phase, r row) {
		expected, _ := expect(t, r)
		good := strings.TrimSpace(r.name + " " + expected.Sample)
		refused := func(want string, lines ...string) {
			t.Helper()
			_, err := parse(phases, block(lines...))
			require.EqualError(t, err, fmt.Sprintf("%s, at Caddyfile:%d", want, 1+len(lines)), "%q", lines)
		}
		_, err := parse(phases, block(good+" {", "}"))
		require.ErrorContains(t, err, r.name+" takes no block")
		if !r.repeats() {
			refused(r.name+" is set twice; leave one of them out", good, good)
		}
		if r.words == 0 {
			refused(r.name+` takes no value; "on" is too many`, r.name+" on")
			return
		}
		count := map[int]string{1: "one value", 3: "three values"}[r.words]
		refused(fmt.Sprintf(`%s needs %s: %s`, r.name, count, r.want), r.name)
		refused(fmt.Sprintf(`%s takes %s, %s; "more" is too many`, r.name, count, r.want), good+" more")

		words, ok := notValues[r.want]
		require.True(t, ok, "add a line %q to notValues in options/refusal_test.go", r.want)
		for _, word := range words {
			read := strings.ToValidUTF8(word, "\ufffd") // by Caddy
			_, err := parse(phases, block(r.name+" `"+word+"`"))
			require.ErrorContains(t, err, fmt.Sprintf("%s: %q is not ", r.name, read))
		}
		if r.want == wantRaw {
			for line, why := range notRaw {
				refused(r.name+": "+why, r.name+" "+line)
				refused(r.name+": "+why, good, r.name+" "+line)
			}
		}
		for _, value := range expected.Refused {
			refused(fmt.Sprintf("%s: %s is not from %s; leave the option out for the kernel's default", r.name, printed(t, r, value), expected.Within),
				r.name+" "+value)
		}
	})
}

// notJSON are values that an option cannot have in JSON, by what it wants.
var notJSON = map[string][]string{
	onOff.want:      {`"ON"`, `"true"`, `1`, `[true]`, `{}`, "\"on\xff\""},
	flag.want:       {`"on"`, `""`, `1`, `[true]`, `{}`, "\"on\xff\""},
	ackModes.want:   {`true`, `1`, `["on"]`, `{}`, `"AUTO"`, `"on\ufffd"`, "\"on\xff\""},
	reactions.want:  {`true`, `0`, `["warn"]`, `{}`, `"WARN"`, "\"warn\xff\""},
	wantSize:        {`true`, `[1]`, `{}`, `1.5`, `1e3`, `-1`, `9223372036854775808`, `"-1"`, `""`, `"1XB"`, "\"1\xffMB\""},
	wantDuration:    {`true`, `[1]`, `{}`, `1.5`, `1e9`, `-1`, `9223372036854775808`, `"-1s"`, `""`, `"30"`, "\"1\xffs\""},
	wantNumber:      {`true`, `[1]`, `{}`, `1.5`, `1e3`, `9223372036854775808`, `"1.5"`, `""`, `"0x"`, "\"1\xff\""},
	wantDSCP:        {`true`, `[1]`, `{}`, `1.5`, `1e1`, `-1`, `64`, `"64"`, `"EF"`, `""`, "\"ef\xff\""},
	names.want:      {`true`, `1`, `["bbr"]`, `{}`, `""`, `"two words"`, "\"bbr\xff\""},
	interfaces.want: {`true`, `1`, `["lo"]`, `{}`, `""`, `"a/b"`, "\"lo\xff\""},
	wantPortRange:   {`true`, `40000`, `[1, 2]`, `{}`, `""`, `"2-1"`, "\"1-2\xff\""},
	wantRaw:         nil, // notRawJSON
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
	`[{}]`:                                   `level is missing; raw takes level, option and value, such as 0 10 0`,
	`[{"level":6}]`:                          `option is missing; raw takes level, option and value, such as 0 10 0`,
	`[{"level":6,"option":18,"value":null}]`: `value null is not a number such as 42 or 0x2a`,
	`[{"level":6,"option":18,"value":true}]`: `value true is not a number such as 42 or 0x2a`,
	`[{"level":6,"option":1.5,"value":1}]`:   `option 1.5 is not a number such as 42 or 0x2a`,
	"[{\"level\":6,\"option\":18,\"value\":\"\xff\"}]":            `value "`,
	`[{"level":6,"option":18,"value":1,"length":4}]`:              `unknown "length" in {"level":6,"option":18,"value":1,"length":4}; it is not ` + wantRawJSON,
	`[{"level":-1,"option":18,"value":1}]`:                        `level -1 is not from 0 to 2147483647`,
	`[{"level":6,"option":"0x80000000","value":1}]`:               `option 2147483648 is not from 0 to 2147483647`,
	`[{"level":6,"option":18,"value":2147483648}]`:                `value 2147483648 is not from -2147483648 to 2147483647`,
	`[{"level":6,"option":18,"value":-2147483649}]`:               `value -2147483649 is not from -2147483648 to 2147483647`,
	`[{"level":6,"option":18,"value":1},{"level":6,"option":18}]`: `value is missing; raw takes level, option and value, such as 0 10 0`,
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
	switch r.want {
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
	everywhere(t, func(t *testing.T, phases Phase, r row) {
		expected, _ := expect(t, r)
		refused := func(value, want string) {
			t.Helper()
			_, err := unmarshal(phases, fmt.Sprintf(`{"%s":%s}`, r.name, value))
			require.ErrorContains(t, err, r.name+": "+want, "%s", value)
		}
		refused("null", "null is not ")
		values, ok := notJSON[r.want]
		require.True(t, ok, "add a line %q to notJSON in options/refusal_test.go", r.want)
		for _, value := range values {
			switch {
			case !utf8.ValidString(value) || strings.Contains(value, `\`):
				refused(value, `"`) // and what is left of it in UTF-8
			default:
				refused(value, value+" is not ")
			}
		}
		if r.want == wantRaw {
			for value, why := range notRawJSON {
				refused(value, why)
			}
		}
		for _, value := range expected.Refused {
			within := printed(t, r, value) + " is not from " + expected.Within
			refused(`"`+value+`"`, within)
			if number, ok := jsonNumber(t, r, value); ok {
				refused(number, within)
			}
		}
		capitals := strings.ToUpper(r.name)
		_, err := unmarshal(phases, fmt.Sprintf(`{"%s":%s}`, capitals, expected.JSON[0]))
		require.ErrorContains(t, err, fmt.Sprintf("unknown option %q (did you mean %s?)", capitals, r.name))
	})
}

// TestOptionsElsewhereAreRefused: an option that cannot stand in a block is refused
// there with the reason, and so is what is no option at all.
func TestOptionsElsewhereAreRefused(t *testing.T) {
	for _, p := range blocks {
		t.Run(p.name, func(t *testing.T) {
			here := "; here it can be " + Names(new(Options).Lines(p.phases))
			refused := func(want, line, members string) {
				t.Helper()
				_, err := parse(p.phases, block(line))
				require.ErrorContains(t, err, want)
				_, err = unmarshal(p.phases, "{"+members+"}")
				require.ErrorContains(t, err, want)
			}
			for _, r := range rows {
				if r.phases&p.phases != 0 {
					continue
				}
				want, _ := expect(t, r)
				refused(fmt.Sprintf("%s %s%s", r.name, r.barred(p.phases), here),
					r.name+" "+want.Sample, fmt.Sprintf(`"%s":%s`, r.name, want.JSON[0]))
			}
			refused(`unknown option "something"`+here, "something on", `"something":true`)
			refused("unknown option \"\ufffd\""+here, "\xff on", "\"\xff\":true")
		})
	}
	for _, text := range []string{`null`, `true`, `[]`, `"nodelay"`} {
		require.EqualError(t, json.Unmarshal([]byte(text), new(Options)), text+` is not options, such as {"quickack": "auto"}`)
	}
}
