package sockopt

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// The lines of the main example, and all that adapting it yields.
const (
	wholeCaddyfile = `{
	servers {
		listener_wrappers {
			sockopt {
				nodelay on
				quickack auto
				recv_buffer 256KiB
				send_buffer 1MiB
			}
			tls
		}
	}
}
example.com {
	echo_payload 10000
}
`
	wholeJSON = `{
	"apps": {"http": {"servers": {"srv0": {
		"listen": [":443"],
		"listener_wrappers": [
			{"nodelay": true, "quickack": "auto", "recv_buffer": 262144, "send_buffer": 1048576, "wrapper": "sockopt"},
			{"wrapper": "tls"}
		],
		"routes": [{
			"match": [{"host": ["example.com"]}],
			"handle": [{
				"handler": "subroute",
				"routes": [{"handle": [{"handler": "echo_payload", "size": 10000}]}]
			}],
			"terminal": true
		}]
	}}}}
}`
)

func TestWholeCaddyfile(t *testing.T) {
	adapted, err := inprocess.Adapt(wholeCaddyfile)
	require.NoError(t, err)
	require.JSONEq(t, wholeJSON, string(adapted))
}

// directive is one of the plugin's directives, as a test writes it: with what
// follows its name, argument and block.
type directive struct {
	name string

	// caddyfile makes a whole Caddyfile of what follows the name, which stands
	// in this line of it.
	caddyfile func(follows string) string
	line      int

	// within is what Caddy calls the place in errors.
	within string
}

var (
	sockoptDirective = directive{
		name: "sockopt",
		caddyfile: func(follows string) string {
			return "{\n" + lab.Wrappers("sockopt"+follows) + "\n}\n:80 {\n}\n"
		},
		line:   4,
		within: "servers",
	}
	echoDirective = directive{
		name: "echo_payload",
		caddyfile: func(follows string) string {
			return ":80 {\necho_payload" + follows + "\n}\n"
		},
		line:   2,
		within: "echo_payload",
	}
)

func TestCaddyfile(t *testing.T) {
	t.Setenv("SOCKOPT_TEST_SIZE", "64KiB")
	for _, test := range []struct {
		name      string
		directive directive
		follows   string
		want      string
	}{
		{"bare", sockoptDirective, "", `{"wrapper":"sockopt"}`},
		{"empty block", sockoptDirective, lab.Block(), `{"wrapper":"sockopt"}`},
		{"nodelay on", sockoptDirective, lab.Block("nodelay on"), `{"nodelay":true,"wrapper":"sockopt"}`},
		{
			"any order, with a comment", sockoptDirective,
			lab.Block("send_buffer 1MiB # towards far clients", "", "nodelay on"),
			`{"nodelay":true,"send_buffer":1048576,"wrapper":"sockopt"}`,
		},
		{
			"value from the environment", sockoptDirective,
			lab.Block("recv_buffer {$SOCKOPT_TEST_SIZE}", "send_buffer {$SOCKOPT_TEST_UNSET:1MiB}"),
			`{"recv_buffer":65536,"send_buffer":1048576,"wrapper":"sockopt"}`,
		},

		{"bare", echoDirective, "", `{"handler":"echo_payload"}`},
		{"empty block", echoDirective, lab.Block(), `{"handler":"echo_payload"}`},
		{"size as argument", echoDirective, " 10000", `{"handler":"echo_payload","size":10000}`},
		{"nothing", echoDirective, " 0", `{"handler":"echo_payload","size":0}`},
		{"1 GiB", echoDirective, " 1GiB", `{"handler":"echo_payload","size":1073741824}`},
		{"size from the environment", echoDirective, " {$SOCKOPT_TEST_SIZE}", `{"handler":"echo_payload","size":65536}`},
		{
			"argument and block", echoDirective, " 1MiB" + lab.Block("write_size 1KiB"),
			`{"handler":"echo_payload","size":1048576,"write_size":1024}`,
		},
		{
			"every line", echoDirective,
			lab.Block("size 5", "fill x", "content_type text/html", "write_size 2", "flush_headers"),
			`{"content_type":"text/html","fill":"x","flush_headers":true,"handler":"echo_payload","size":5,"write_size":2}`,
		},
		{"fill with a brace", echoDirective, lab.Block(`fill "}"`), `{"fill":"}","handler":"echo_payload"}`},
		{"fill with a space", echoDirective, lab.Block(`fill " "`), `{"fill":" ","handler":"echo_payload"}`},
		{
			"content_type with a parameter", echoDirective, lab.Block(`content_type "text/plain; charset=utf-8"`),
			`{"content_type":"text/plain; charset=utf-8","handler":"echo_payload"}`,
		},
	} {
		t.Run(test.directive.name+" "+test.name, func(t *testing.T) {
			require.Equal(t, []string{test.want}, adaptedModules(t, test.directive.caddyfile(test.follows)))
		})
	}
}

func TestCaddyfileWithImports(t *testing.T) {
	const snippet = "(buffers) {\nrecv_buffer {args[0]}\nsend_buffer {args[0]}\n}\n"
	importing := func(lines ...string) string { return snippet + sockoptDirective.caddyfile(lab.Block(lines...)) }
	require.Equal(t, []string{`{"nodelay":true,"quickack":"on","recv_buffer":65536,"send_buffer":65536,"wrapper":"sockopt"}`},
		adaptedModules(t, importing("nodelay on", "import buffers 64KiB", "quickack on")))

	_, err := inprocess.Adapt(importing("recv_buffer 4KiB", "import buffers 64KiB"))
	require.ErrorContains(t, err, "recv_buffer is set twice; leave one of them out, at Caddyfile:2 ")
	require.ErrorContains(t, err, "import chain ['Caddyfile:10 (import buffers)']")
}

func TestEchoPayloadTakesAMatcher(t *testing.T) {
	adapted, err := inprocess.Adapt(":80 {\necho_payload /stars 5\n}\n")
	require.NoError(t, err)
	require.JSONEq(t, `{"apps":{"http":{"servers":{"srv0":{"listen":[":80"],"routes":[
		{"match":[{"path":["/stars"]}],"handle":[{"handler":"echo_payload","size":5}]}
	]}}}}}`, string(adapted))
}

// adaptedModules returns the JSON of the listener wrappers and the handlers that
// a Caddyfile adapts to.
func adaptedModules(t *testing.T, caddyfile string) (modules []string) {
	t.Helper()
	adapted, err := inprocess.Adapt(caddyfile)
	require.NoError(t, err)
	var c struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					ListenerWrappers []json.RawMessage `json:"listener_wrappers"`
					Routes           []struct {
						Handle []json.RawMessage `json:"handle"`
					} `json:"routes"`
				} `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	require.NoError(t, json.Unmarshal(adapted, &c))
	server := c.Apps.HTTP.Servers["srv0"]
	for _, wrapper := range server.ListenerWrappers {
		modules = append(modules, string(wrapper))
	}
	for _, route := range server.Routes {
		for _, handler := range route.Handle {
			modules = append(modules, string(handler))
		}
	}
	return modules
}

// badCaddyfile is what may not follow a directive's name.
type badCaddyfile struct {
	name      string
	directive directive
	follows   string
	line      int // of the error, counted from the directive's, which is 0
	want      string
}

const (
	listenerNames = "nodelay, quickack, "
	echoNames     = "size, fill, content_type, write_size or flush_headers"
)

var badCaddyfiles = []badCaddyfile{
	{"argument", sockoptDirective, " on", 0, `sockopt takes no argument, but options in a block, one a line; "on" is too many`},
	{"option as argument", sockoptDirective, " nodelay on", 0, `sockopt takes no argument, but options in a block, one a line; "nodelay" is too many`},
	{"argument and block", sockoptDirective, " on" + lab.Block("nodelay on"), 0, `sockopt takes no argument, but options in a block, one a line; "on" is too many`},
	{"unknown name", sockoptDirective, lab.Block("nodelay on", "no_delay on"), 2, `unknown option "no_delay" (did you mean nodelay?); here it can be ` + listenerNames},
	{"option of a route", sockoptDirective, lab.Block("cork on"), 1, `cork cannot be set here, but for the requests of a route`},

	{"no size", echoDirective, " stars", 0, `echo_payload: "stars" is not a size such as 64KiB, 1MB or a number of bytes`},
	{"empty size", echoDirective, ` ""`, 0, `echo_payload: "" is not a size such as 64KiB, 1MB or a number of bytes`},
	{"negative size", echoDirective, " -1", 0, `echo_payload: "-1" is not a size such as 64KiB, 1MB or a number of bytes`},
	{"two sizes", echoDirective, " 1 2", 0, `echo_payload takes one value, a size such as 64KiB, 1MB or a number of bytes; "2" is too many`},
	{"size before and in the block", echoDirective, " 10000" + lab.Block("size 5"), 1, `size is set twice; leave one of them out`},
	{"size twice in the block", echoDirective, lab.Block("size 5", "size 5"), 2, `size is set twice; leave one of them out`},
	{"unknown line", echoDirective, lab.Block("bytes 5"), 1, `unknown option "bytes"; here it can be ` + echoNames},
	{"option of a socket", echoDirective, lab.Block("fill x", "nodelay on"), 2, `unknown option "nodelay"; here it can be ` + echoNames},
	{"no fill", echoDirective, lab.Block("fill"), 1, `fill needs one value: one ASCII character`},
	{"empty fill", echoDirective, lab.Block(`fill ""`), 1, `fill: "" is not one ASCII character, such as *`},
	{"two characters", echoDirective, lab.Block("fill ab"), 1, `fill: "ab" is not one ASCII character, such as *`},
	{"character of two bytes", echoDirective, lab.Block("fill ä"), 1, `fill: "ä" is not one ASCII character, such as *`},
	{"fill twice", echoDirective, lab.Block("fill a", "fill b"), 2, `fill is set twice; leave one of them out`},
	{"empty type", echoDirective, lab.Block(`content_type ""`), 1, `content_type: "" is not a media type such as text/plain`},
	{"type in two words", echoDirective, lab.Block("content_type text/plain; charset=utf-8"), 1, `content_type takes one value, a media type such as text/plain; "charset=utf-8" is too many`},
	{"pieces of nothing", echoDirective, lab.Block("write_size 0"), 1, `write_size: must be at least 1 byte; leave it out to send the payload in one piece`},
	{"pieces of no size", echoDirective, lab.Block("write_size small"), 1, `write_size: "small" is not a size such as 64KiB, 1MB or a number of bytes`},
	{"switch with a value", echoDirective, lab.Block("flush_headers on"), 1, `flush_headers takes no value; "on" is too many`},
	{"switch twice", echoDirective, lab.Block("flush_headers", "flush_headers"), 2, `flush_headers is set twice; leave one of them out`},
	{"switch with a block", echoDirective, lab.Block("flush_headers {", "now", "}"), 1, `flush_headers takes no block`},
}

func TestCaddyfileRefuses(t *testing.T) {
	for _, test := range badCaddyfiles {
		t.Run(test.directive.name+" "+test.name, func(t *testing.T) {
			_, err := inprocess.Adapt(test.directive.caddyfile(test.follows))
			require.ErrorContains(t, err, fmt.Sprintf("parsing caddyfile tokens for '%s': %s", test.directive.within, test.want))
			require.ErrorContains(t, err, fmt.Sprintf(", at Caddyfile:%d", test.directive.line+test.line))
		})
	}
}
