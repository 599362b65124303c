package sockopt

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// listenerWrapper is the path of the first listener wrapper in the admin API.
const listenerWrapper = "/config/apps/http/servers/srv0/listener_wrappers/0"

func TestBadConfigurationIsRefused(t *testing.T) {
	c, client := serve(t, "sockopt")
	_, before := c.API(http.MethodGet, "/config/", "", "")
	refused := func(name, contentType, body, want string) {
		t.Run(name, func(t *testing.T) {
			status, answer := c.Load(contentType, body)
			require.Equal(t, http.StatusBadRequest, status, answer)
			require.Contains(t, answer, jsonText(want))
			client.get(t)
			_, after := c.API(http.MethodGet, "/config/", "", "")
			require.JSONEq(t, before, after)
		})
	}
	for _, bad := range badCaddyfiles {
		refused("Caddyfile "+bad.directive.name+" "+bad.name, "text/caddyfile", bad.directive.caddyfile(bad.follows),
			fmt.Sprintf("%s, at Caddyfile:%d", bad.want, bad.directive.line+bad.line))
	}
	adapted, err := inprocess.Adapt(c.with("sockopt"))
	require.NoError(t, err)
	for _, bad := range badJSON {
		was := fmt.Sprintf(`"%s":"%s"`, bad.key, bad.module)
		require.Equal(t, 1, strings.Count(string(adapted), was))
		refused("JSON "+bad.module+" "+bad.name, "application/json",
			strings.Replace(string(adapted), was, was+","+bad.fields, 1), bad.want)
	}
}

// jsonText is text as the admin API writes it into its answers.
func jsonText(text string) string {
	quoted := jsonQuoted(text)
	return quoted[1 : len(quoted)-1]
}

// jsonQuoted is text in JSON.
func jsonQuoted(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(quoted)
}

// badJSON are fields that a module may not have.
var badJSON = []struct {
	name        string
	key, module string
	fields      string
	want        string
}{
	{"unknown field", "wrapper", "sockopt", `"no_delay":true`, `unknown option "no_delay"; here it can be nodelay, quickack, `},
	{"kernel's name", "wrapper", "sockopt", `"TCP_NODELAY":true`, `unknown option "TCP_NODELAY"; here it can be nodelay, quickack, `},
	{"options apart", "wrapper", "sockopt", `"options":{"nodelay":true}`, `unknown option "options"; here it can be nodelay, quickack, `},
	{"switch as a word", "wrapper", "sockopt", `"nodelay":"on"`, `nodelay: "on" is not true or false`},
	{"switch as a number", "wrapper", "sockopt", `"nodelay":1`, `nodelay: 1 is not true or false`},
	{"switch as a list", "wrapper", "sockopt", `"nodelay":[true]`, `nodelay: [true] is not true or false`},
	{"mode as a switch", "wrapper", "sockopt", `"quickack":true`, `quickack: true is not auto, on or off`},
	{"unknown mode", "wrapper", "sockopt", `"quickack":"sometimes"`, `provision caddy.listeners.sockopt: quickack: "sometimes" is not auto, on or off`},
	{"empty mode", "wrapper", "sockopt", `"quickack":""`, `quickack: "" is not auto, on or off`},
	{"mode in capitals", "wrapper", "sockopt", `"quickack":"AUTO"`, `quickack: "AUTO" is not auto, on or off`},
	{"no buffer", "wrapper", "sockopt", `"recv_buffer":0`, `recv_buffer: 0 is not from 1 to 1073741823 bytes; leave the option out for the kernel's default`},
	{"size beyond the kernel's interface", "wrapper", "sockopt", `"send_buffer":"2GiB"`, `send_buffer: 2GiB is not from 1 to 1073741823 bytes; leave the option out for the kernel's default`},
	{"fraction", "wrapper", "sockopt", `"recv_buffer":1.5`, `recv_buffer: 1.5 is not a size such as 64KiB, 1MB or a number of bytes`},
	{"negative size", "wrapper", "sockopt", `"send_buffer":-1`, `send_buffer: -1 is not a size such as 64KiB, 1MB or a number of bytes`},
	{"size beyond 63 bits", "wrapper", "sockopt", `"recv_buffer":"8EiB"`, `recv_buffer: "8EiB" is not a size`},
	{"unknown unit", "wrapper", "sockopt", `"recv_buffer":"1XB"`, `recv_buffer: "1XB" is not a size`},
	{"size as an object", "wrapper", "sockopt", `"recv_buffer":{}`, `recv_buffer: {} is not a size`},
	{"unknown reaction", "wrapper", "sockopt", `"on_unsupported":"ignore"`, `on_unsupported: "ignore" is not fail or warn`},
	{"reaction as a switch", "wrapper", "sockopt", `"on_unsupported":false`, `on_unsupported: false is not fail or warn`},
	{"option of a route", "wrapper", "sockopt", `"cork":true`, `provision caddy.listeners.sockopt: cork cannot be set here, but for the requests of a route; here it can be nodelay, `},
	{"duration without a unit", "wrapper", "sockopt", `"user_timeout":"30"`, `user_timeout: "30" is not a duration such as 40ms, 30s or 2h`},
	{"negative duration", "wrapper", "sockopt", `"linger":-1`, `linger: -1 is not a duration such as 40ms, 30s or 2h`},
	{"too short", "wrapper", "sockopt", `"keepalive_idle":999000000`, `keepalive_idle: 999ms is not from 1s to 9h6m7s; leave the option out for the kernel's default`},
	{"number of another unit", "wrapper", "sockopt", `"keepalive_idle":30`, `keepalive_idle: 30 is nanoseconds, as every number is; write a string with a unit, such as "30s"`},
	{"too many", "wrapper", "sockopt", `"keepalive_count":128`, `keepalive_count: 128 is not from 1 to 127; leave the option out for the kernel's default`},
	{"count as a fraction", "wrapper", "sockopt", `"backlog":1.5`, `backlog: 1.5 is not a number such as 42 or 0x2a`},
	{"code point beyond 63", "wrapper", "sockopt", `"dscp":64`, `dscp: 64 is not a code point: ef, af11 to af43, cs0 to cs7, le, va, or 0 to 63`},
	{"algorithm as a number", "wrapper", "sockopt", `"congestion":1`, `congestion: 1 is not a name such as bbr`},
	{"algorithm in two words", "wrapper", "sockopt", `"congestion":"two words"`, `congestion: "two words" is not a name of 1 to 15 letters, digits, - and _, such as bbr`},
	{"one raw option", "wrapper", "sockopt", `"raw":{"level":6,"option":18,"value":30000}`, `raw: {"level":6,"option":18,"value":30000} is not a list such as [{"level": 6, "option": 18, "value": 30000}]`},
	{"raw option in a line", "wrapper", "sockopt", `"raw":["6 18 30000"]`, `raw: "6 18 30000" is not {"level": 6, "option": 18, "value": 30000}`},
	{"raw option of nothing", "wrapper", "sockopt", `"raw":[null]`, `raw: null is not {"level": 6, "option": 18, "value": 30000}`},
	{"raw option without a value", "wrapper", "sockopt", `"raw":[{"level":6,"option":18}]`, `raw: value is missing`},
	{"raw option with a name", "wrapper", "sockopt", `"raw":[{"name":"TCP_USER_TIMEOUT","value":1}]`, `raw: unknown "name" in {"name":"TCP_USER_TIMEOUT","value":1}; it is not {"level": 6, "option": 18, "value": 30000}`},
	{"raw value beyond an int", "wrapper", "sockopt", `"raw":[{"level":6,"option":18,"value":2147483648}]`, `raw: value 2147483648 is not from -2147483648 to 2147483647`},
	{"raw level as a word", "wrapper", "sockopt", `"raw":[{"level":"tcp","option":18,"value":1}]`, `raw: level "tcp" is not a number such as 42 or 0x2a`},

	{"unknown field", "handler", "echo_payload", `"bytes":5`, `json: unknown field "bytes"`},
	{"negative size", "handler", "echo_payload", `"size":-1`, `json: cannot unmarshal -1, which is not a size such as 64KiB, 1MB or a number of bytes, into Go struct field EchoPayload.size of type sockopt.Size`},
	{"two characters", "handler", "echo_payload", `"fill":"ab"`, `provision http.handlers.echo_payload: fill: "ab" is not one ASCII character, such as *`},
	{"character of two bytes", "handler", "echo_payload", `"fill":"ä"`, `fill: "ä" is not one ASCII character, such as *`},
	{"fill as a number", "handler", "echo_payload", `"fill":1`, `json: cannot unmarshal number into Go struct field EchoPayload.fill of type string`},
	{"pieces of nothing", "handler", "echo_payload", `"write_size":0`, `write_size: must be at least 1 byte; leave it out to send the payload in one piece`},
	{"switch as a word", "handler", "echo_payload", `"flush_headers":"yes"`, `json: cannot unmarshal string into Go struct field EchoPayload.flush_headers of type bool`},
}
