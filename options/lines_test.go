package options

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCaddyfile(t *testing.T) {
	for _, test := range []struct{ name, follows, want string }{
		{"bare", "", `{}`},
		{"empty block", block(), `{}`},
		{"nodelay on", block("nodelay on"), `{"nodelay":true}`},
		{"nodelay off", block("nodelay off"), `{"nodelay":false}`},
		{"quickack auto", block("quickack auto"), `{"quickack":"auto"}`},
		{"quickack on", block("quickack on"), `{"quickack":"on"}`},
		{"quickack off", block("quickack off"), `{"quickack":"off"}`},
		{"size with a binary unit", block("recv_buffer 256KiB"), `{"recv_buffer":262144}`},
		{"size with a decimal unit", block("send_buffer 1MB"), `{"send_buffer":1000000}`},
		{"size in bytes", block("send_buffer 4096"), `{"send_buffer":4096}`},
		{"quoted size with a space", block(`send_buffer "4 KiB"`), `{"send_buffer":4096}`},
		{"on_unsupported fail", block("on_unsupported fail"), `{"on_unsupported":"fail"}`},
		{"on_unsupported warn", block("on_unsupported warn"), `{"on_unsupported":"warn"}`},
		{"duration", block("user_timeout 1m30s"), `{"user_timeout":"1m30s"}`},
		{"duration in days", block("defer_accept 1d"), `{"defer_accept":"24h"}`},
		{"linger that resets", block("linger 0s"), `{"linger":"0s"}`},
		{"rate", block("pacing_rate 10MiB"), `{"pacing_rate":10485760}`},
		{"algorithm", block("congestion bbr"), `{"congestion":"bbr"}`},
		{"hexadecimal number", block("mark 0x2A"), `{"mark":42}`},
		{"leading zero", block("mark 010"), `{"mark":10}`},
		{"code point by name", block("dscp af41"), `{"dscp":"af41"}`},
		{"code point by number", block("dscp 46"), `{"dscp":"ef"}`},
		{"code point without a name", block("dscp 63"), `{"dscp":"63"}`},
		{
			"raw options", block("raw 0 10 0", "raw 0x1 0x31 -1"),
			`{"raw":[{"level":0,"option":10,"value":0},{"level":1,"option":49,"value":-1}]}`,
		},
		{
			"any order, with a comment", block("send_buffer 1MiB # towards far clients", "", "nodelay on"),
			`{"nodelay":true,"send_buffer":1048576}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, err := parse(Listen|Accept, test.follows)
			require.NoError(t, err)
			text, err := json.Marshal(o)
			require.NoError(t, err)
			require.Equal(t, test.want, string(text))
		})
	}
}

// listenerNames are the options of a listener.
var listenerNames = Names(new(Options).Lines(Listen | Accept))

// badCaddyfiles are blocks that are refused, each for what stands in one of its lines.
var badCaddyfiles = []struct {
	name    string
	follows string // the directive's name
	line    int    // of the error, counted from the directive's, which is 0
	want    string
}{
	{"unknown name", block("nodelay on", "no_delay on"), 2, `unknown option "no_delay" (did you mean nodelay?)`},
	{"kernel's name", block("TCP_NODELAY on"), 1, `unknown option "TCP_NODELAY" (did you mean nodelay?)`},
	{"name in capitals", block("Nodelay on"), 1, `unknown option "Nodelay" (did you mean nodelay?)`},
	{"unknown name with a block", block("buffers {", "recv 1MiB", "}"), 1, `unknown option "buffers"; here it can be ` + listenerNames},
	{"no value", block("nodelay"), 1, `nodelay needs one value: on or off`},
	{"no value, but a block", block("nodelay {", "on", "}"), 1, `nodelay needs one value: on or off`},
	{"no mode", block("quickack"), 1, `quickack needs one value: auto, on or off`},
	{"no size", block("recv_buffer", "send_buffer 1MiB"), 1, `recv_buffer needs one value: a size such as 64KiB, 1MB or a number of bytes`},
	{"two values", block("nodelay on off"), 1, `nodelay takes one value, on or off; "off" is too many`},
	{"unit apart", block("recv_buffer 64 KiB"), 1, `recv_buffer takes one value, a size such as 64KiB, 1MB or a number of bytes; "KiB" is too many`},
	{"twice the same", block("nodelay on", "nodelay on"), 2, `nodelay is set twice; leave one of them out`},
	{"twice different", block("quickack on", "nodelay on", "quickack off"), 3, `quickack is set twice; leave one of them out`},
	{"boolean of JSON", block("nodelay true"), 1, `nodelay: "true" is not on or off`},
	{"switch in capitals", block("nodelay ON"), 1, `nodelay: "ON" is not on or off`},
	{"empty switch", block(`nodelay ""`), 1, `nodelay: "" is not on or off`},
	{"runtime placeholder", block("nodelay {env.NODELAY}"), 1, `nodelay: "{env.NODELAY}" is not on or off`},
	{"unknown mode", block("quickack sometimes"), 1, `quickack: "sometimes" is not auto, on or off`},
	{"unknown reaction", block("on_unsupported ignore"), 1, `on_unsupported: "ignore" is not fail or warn`},
	{"no size at all", block("recv_buffer big"), 1, `recv_buffer: "big" is not a size such as 64KiB, 1MB or a number of bytes`},
	{"negative size", block("recv_buffer -1"), 1, `recv_buffer: "-1" is not a size such as 64KiB, 1MB or a number of bytes`},
	{"fraction of a byte", block("send_buffer 1.5"), 1, `send_buffer: "1.5" is not a size such as 64KiB, 1MB or a number of bytes`},
	{"decimal comma", block("send_buffer 1,5MB"), 1, `send_buffer: "1,5MB" is not a size such as 64KiB, 1MB or a number of bytes`},
	{"unknown unit", block("send_buffer 1XB"), 1, `send_buffer: "1XB" is not a size such as 64KiB, 1MB or a number of bytes`},
	{"size beyond 63 bits", block("send_buffer 8EiB"), 1, `send_buffer: "8EiB" is not a size such as 64KiB, 1MB or a number of bytes`},
	{"no buffer", block("recv_buffer 0"), 1, `recv_buffer: 0 is not from 1 to 1073741823 bytes; leave the option out for the kernel's default`},
	{"size beyond the kernel's interface", block("send_buffer 2GiB"), 1, `send_buffer: 2GiB is not from 1 to 1073741823 bytes; leave the option out for the kernel's default`},
	{"option of a route", block("cork on"), 1, `cork cannot be set here, but for the requests of a route (sockopt { cork … } in the site or route); here it can be ` + listenerNames},
	{"option of a route without a value", block("cork"), 1, `cork cannot be set here, but for the requests of a route (sockopt { cork … } in the site or route); here it can be ` + listenerNames},
	{"raw option in one word", block("raw 6:18:30000"), 1, `raw needs three values: level, option and value, such as 0 10 0`},
	{"raw option without a value", block("raw 6 18"), 1, `raw needs three values: level, option and value, such as 0 10 0`},
	{"raw option with one more", block("raw 6 18 30000 4"), 1, `raw takes three values, level, option and value, such as 0 10 0; "4" is too many`},
	{"second raw option", block("raw 6 18 30000", "raw 6 18 x"), 2, `raw: "x" is not a number such as 42 or 0x2a`},
	{"raw level", block("raw -1 18 30000"), 1, `raw: level -1 is not from 0 to 2147483647`},
	{"raw number", block("raw 6 0x80000000 30000"), 1, `raw: option 2147483648 is not from 0 to 2147483647`},
	{"raw value", block("raw 6 18 0xffffffff"), 1, `raw: value 4294967295 is not from -2147483648 to 2147483647`},
	{"raw option with a block", block("raw 6 18 30000 {", "}"), 1, `raw takes no block`},
	{"value and block", block("nodelay on {", "now", "}"), 1, `nodelay takes no block`},
	{"value and empty block", block("nodelay on {", "}", "quickack on"), 1, `nodelay takes no block`},
}

func TestCaddyfileRefuses(t *testing.T) {
	for _, test := range badCaddyfiles {
		t.Run(test.name, func(t *testing.T) {
			_, err := parse(Listen|Accept, test.follows)
			require.EqualError(t, err, fmt.Sprintf("%s, at Caddyfile:%d", test.want, 1+test.line))
		})
	}
}

// TestMistakes: what people wrote, and what they meant.
func TestMistakes(t *testing.T) {
	for line, want := range map[string]string{
		"dial_timeout 3s": `unknown option "dial_timeout": it is one of the transport's own; in transport sockopt write it beside socket { }, not inside`,
		"socket on":       `unknown option "socket": only transport sockopt has it; here options are written without it`,
		"keepalive 30s":   `keepalive: "30s" is not on or off; did you mean keepalive_idle 30s?`,
		"dscp AF21":       `dscp: "AF21" is not ` + wantDSCP + `; did you mean af21?`,
		"dscp 72":         `dscp: "72" is not ` + wantDSCP + `; as a TOS byte that is af21`,
		"dscp 0x48":       `dscp: "0x48" is not ` + wantDSCP + `; as a TOS byte that is af21`,
		"dscp 0x2e":       `dscp: "0x2e" is not ` + wantDSCP + `; did you mean ef?`,
		"fastopen on":     `fastopen: "on" is not ` + wantNumber + `; it is how many connections may wait: write fastopen 256`,
	} {
		name, value, _ := strings.Cut(line, " ")
		_, err := parse(Listen|Accept, block(line))
		require.EqualError(t, err, want+", at Caddyfile:2")
		_, err = unmarshal(Listen|Accept, fmt.Sprintf(`{"%s":"%s"}`, name, value))
		require.ErrorContains(t, err, want[max(0, strings.LastIndex(want, ";")):], line)
	}
}

// TestDidYouMean: an unknown name is near that of an option, or the kernel's.
func TestDidYouMean(t *testing.T) {
	for name, want := range map[string]string{
		"no_delay":      "nodelay",
		"TCP_NODELAY":   "nodelay",
		"SO_RCVBUF":     "recv_buffer",
		"rcvbuf":        "recv_buffer",
		"IPV6_TCLASS":   "dscp",
		"recvbuffer":    "recv_buffer",
		"keep_alive":    "keepalive",
		"user_time_out": "user_timeout",
		"cong":          "congestion",
		"something":     "",
		"x":             "",
	} {
		if want == "" {
			require.ErrorContains(t, unknown(name, new(Options).Lines(Accept)), "; here it can be nodelay, ", "all of them")
			continue
		}
		require.EqualError(t, unknown(name, new(Options).Lines(Accept)), fmt.Sprintf("unknown option %q (did you mean %s?)", name, want))
	}
}
