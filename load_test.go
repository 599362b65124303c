package sockopt

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
)

// site is a running Caddy that serves the payload.
type site struct {
	*running
	addr string
}

// listenerWrapper is the path of the first listener wrapper in the admin API.
const listenerWrapper = "/config/apps/http/servers/srv0/listener_wrappers/0"

// serve runs a site whose listener wrappers are lines, and connects a client.
func serve(t *testing.T, lines string) (*site, *visitor) {
	t.Helper()
	addr := address(t)
	c := &site{run(t, wrappers(lines), echoSite(addr)), addr}
	client := newVisitor(addr)
	client.get(t)
	return c, client
}

// echoSite is a site that serves the payload on addr.
func echoSite(addr string) string { return fmt.Sprintf("http://%s {\necho_payload\n}", addr) }

// with is the site's Caddyfile, but with other listener wrappers.
func (s *site) with(lines string) string { return s.config(wrappers(lines), echoSite(s.addr)) }

// config is a Caddyfile for the same Caddy.
func (s *site) config(global, sites string) string { return config(s.dir, s.admin, global, sites) }

// reachable returns when the site serves: for a moment after a load, the server of
// the configuration before it takes connections, and drops them.
func (s *site) reachable(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		return get(t.Context(), http.DefaultClient, "http://"+s.addr) == nil
	}, patience, time.Millisecond)
}

// visitor is an HTTP client that keeps one connection.
type visitor struct {
	http.Client
	url       string
	connected bool
}

func newVisitor(addr string) *visitor {
	return &visitor{Client: http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}, url: "http://" + addr}
}

// get fetches the payload over the connection of the first call.
func (c *visitor) get(t *testing.T) {
	t.Helper()
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			require.Equal(t, c.connected, info.Reused, "the connection of the last request was closed")
		},
	})
	require.NoError(t, get(ctx, &c.Client, c.url))
	c.connected = true
}

func TestBadConfigurationIsRefused(t *testing.T) {
	c, client := serve(t, "sockopt")
	_, before := c.api(http.MethodGet, "/config/", "", "")
	refused := func(name, contentType, body, want string) {
		t.Run(name, func(t *testing.T) {
			status, answer := c.load(contentType, body)
			require.Equal(t, http.StatusBadRequest, status, answer)
			require.Contains(t, answer, jsonText(want))
			client.get(t)
			_, after := c.api(http.MethodGet, "/config/", "", "")
			require.JSONEq(t, before, after)
		})
	}
	for _, bad := range badCaddyfiles {
		refused("Caddyfile "+bad.directive.name+" "+bad.name, "text/caddyfile", bad.directive.caddyfile(bad.follows),
			fmt.Sprintf("%s, at Caddyfile:%d", bad.want, bad.directive.line+bad.line))
	}
	adapted, err := adapt(c.with("sockopt"))
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
	{"unknown field", "wrapper", "sockopt", `"no_delay":true`, `json: unknown field "no_delay"`},
	{"kernel's name", "wrapper", "sockopt", `"TCP_NODELAY":true`, `json: unknown field "TCP_NODELAY"`},
	{"options apart", "wrapper", "sockopt", `"options":{"nodelay":true}`, `json: unknown field "options"`},
	{"switch as a word", "wrapper", "sockopt", `"nodelay":"on"`, `json: cannot unmarshal string into Go struct field ListenerWrapper.Options.nodelay of type bool`},
	{"switch as a number", "wrapper", "sockopt", `"nodelay":1`, `json: cannot unmarshal number into Go struct field ListenerWrapper.Options.nodelay of type bool`},
	{"switch as a list", "wrapper", "sockopt", `"nodelay":[true]`, `json: cannot unmarshal array into Go struct field ListenerWrapper.Options.nodelay of type bool`},
	{"mode as a switch", "wrapper", "sockopt", `"quickack":true`, `json: cannot unmarshal bool into Go struct field ListenerWrapper.Options.quickack of type socket.AckMode`},
	{"unknown mode", "wrapper", "sockopt", `"quickack":"sometimes"`, `provision caddy.listeners.sockopt: quickack: "sometimes" is not auto, on or off`},
	{"empty mode", "wrapper", "sockopt", `"quickack":""`, `quickack: "" is not auto, on or off`},
	{"mode in capitals", "wrapper", "sockopt", `"quickack":"AUTO"`, `quickack: "AUTO" is not auto, on or off`},
	{"no buffer", "wrapper", "sockopt", `"recv_buffer":0`, `recv_buffer: 0 is not from 1 to 1073741823 bytes; leave the option out for the kernel's default`},
	{"size beyond the kernel's interface", "wrapper", "sockopt", `"send_buffer":"2GiB"`, `send_buffer: 2GiB is not from 1 to 1073741823 bytes; leave the option out for the kernel's default`},
	{"fraction", "wrapper", "sockopt", `"recv_buffer":1.5`, `json: cannot unmarshal 1.5, which is not a size such as 64KiB, 1MB or a number of bytes, into Go struct field ListenerWrapper.Options.recv_buffer of type sockopt.Size`},
	{"negative size", "wrapper", "sockopt", `"send_buffer":-1`, `json: cannot unmarshal -1, which is not a size such as 64KiB, 1MB or a number of bytes, into Go struct field ListenerWrapper.Options.send_buffer of type sockopt.Size`},
	{"size beyond 63 bits", "wrapper", "sockopt", `"recv_buffer":"8EiB"`, `json: cannot unmarshal "8EiB", which is not a size`},
	{"unknown unit", "wrapper", "sockopt", `"recv_buffer":"1XB"`, `json: cannot unmarshal "1XB", which is not a size`},
	{"size as an object", "wrapper", "sockopt", `"recv_buffer":{}`, `json: cannot unmarshal {}, which is not a size`},
	{"unknown reaction", "wrapper", "sockopt", `"on_unsupported":"ignore"`, `on_unsupported: "ignore" is not fail or warn`},
	{"reaction as a switch", "wrapper", "sockopt", `"on_unsupported":false`, `json: cannot unmarshal bool into Go struct field ListenerWrapper.Options.on_unsupported of type sockopt.Unsupported`},
	{"option of a route", "wrapper", "sockopt", `"cork":true`, `provision caddy.listeners.sockopt: cork cannot be set here, but for the requests of a route; here it can be nodelay, `},
	{"duration without a unit", "wrapper", "sockopt", `"user_timeout":"30"`, `json: cannot unmarshal "30", which is not a duration such as 40ms, 30s or 2h, into Go struct field ListenerWrapper.Options.user_timeout of type sockopt.Duration`},
	{"negative duration", "wrapper", "sockopt", `"linger":-1`, `json: cannot unmarshal -1, which is not a duration such as 40ms, 30s or 2h, into Go struct field ListenerWrapper.Options.linger of type sockopt.Duration`},
	{"too short", "wrapper", "sockopt", `"keepalive_idle":30`, `keepalive_idle: 30ns is not from 1s to 9h6m7s; leave the option out for the kernel's default`},
	{"too many", "wrapper", "sockopt", `"keepalive_count":128`, `keepalive_count: 128 is not from 1 to 127; leave the option out for the kernel's default`},
	{"count as a fraction", "wrapper", "sockopt", `"backlog":1.5`, `json: cannot unmarshal 1.5, which is not a number such as 42 or 0x2a, into Go struct field ListenerWrapper.Options.backlog of type sockopt.Number`},
	{"code point beyond 63", "wrapper", "sockopt", `"dscp":64`, `json: cannot unmarshal 64, which is not a code point: ef, af11 to af43, cs0 to cs7, le, va, or 0 to 63, into Go struct field ListenerWrapper.Options.dscp of type sockopt.DSCP`},
	{"algorithm as a number", "wrapper", "sockopt", `"congestion":1`, `json: cannot unmarshal number into Go struct field ListenerWrapper.Options.congestion of type string`},
	{"algorithm in two words", "wrapper", "sockopt", `"congestion":"two words"`, `congestion: "two words" is not a name of 1 to 15 letters, digits, - and _, such as bbr`},
	{"one raw option", "wrapper", "sockopt", `"raw":{"level":6,"option":18,"value":30000}`, `json: cannot unmarshal object into Go struct field ListenerWrapper.Options.raw of type []sockopt.RawOption`},
	{"raw option in a line", "wrapper", "sockopt", `"raw":["6 18 30000"]`, `json: cannot unmarshal string into Go struct field ListenerWrapper.Options.raw of type sockopt.RawOption`},
	{"raw option of nothing", "wrapper", "sockopt", `"raw":[null]`, `raw: level is missing`},
	{"raw option without a value", "wrapper", "sockopt", `"raw":[{"level":6,"option":18}]`, `raw: value is missing`},
	{"raw option with a name", "wrapper", "sockopt", `"raw":[{"name":"TCP_USER_TIMEOUT","value":1}]`, `json: unknown field "name"`},
	{"raw value beyond an int", "wrapper", "sockopt", `"raw":[{"level":6,"option":18,"value":2147483648}]`, `raw: value 2147483648 is not from -2147483648 to 2147483647`},
	{"raw level as a word", "wrapper", "sockopt", `"raw":[{"level":"tcp","option":18,"value":1}]`, `json: cannot unmarshal "tcp", which is not a number such as 42 or 0x2a, into Go struct field`},

	{"unknown field", "handler", "echo_payload", `"bytes":5`, `json: unknown field "bytes"`},
	{"negative size", "handler", "echo_payload", `"size":-1`, `json: cannot unmarshal -1, which is not a size such as 64KiB, 1MB or a number of bytes, into Go struct field EchoPayload.size of type sockopt.Size`},
	{"two characters", "handler", "echo_payload", `"fill":"ab"`, `provision http.handlers.echo_payload: fill: "ab" is not one ASCII character, such as *`},
	{"character of two bytes", "handler", "echo_payload", `"fill":"ä"`, `fill: "ä" is not one ASCII character, such as *`},
	{"fill as a number", "handler", "echo_payload", `"fill":1`, `json: cannot unmarshal number into Go struct field EchoPayload.fill of type string`},
	{"pieces of nothing", "handler", "echo_payload", `"write_size":0`, `write_size: must be at least 1 byte; leave it out to send the payload in one piece`},
	{"switch as a word", "handler", "echo_payload", `"flush_headers":"yes"`, `json: cannot unmarshal string into Go struct field EchoPayload.flush_headers of type bool`},
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
	wantRaw:          {`true`, `1`, `"6 18 1"`, `{}`, `[1]`, `[[]]`, `[{}]`, `[{"level":6}]`, `[{"level":6,"option":18,"value":null}]`},
}

// TestEveryOptionRefusesJSON: an error names the option, whichever it is.
func TestEveryOptionRefusesJSON(t *testing.T) {
	refused := func(t *testing.T, r row, value string) {
		t.Helper()
		w := new(ListenerWrapper)
		err := caddy.StrictUnmarshalJSON(fmt.Appendf(nil, `{"%s":%s}`, r.name, value), w)
		if err == nil {
			err = w.check(listen | accept)
		}
		require.ErrorContains(t, err, r.name, "%s", value)
	}
	for _, r := range rows {
		if r.phases&(listen|accept) == 0 {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			values, ok := notJSON[r.want()]
			require.True(t, ok, "notJSON needs a line for %s", r.want())
			for _, value := range values {
				refused(t, r, value)
			}
			for _, value := range outOfRange[r.name].values {
				refused(t, r, jsonQuoted(value))
			}
		})
	}
}
