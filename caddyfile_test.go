package sockopt

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

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

// directive is a directive of this plugin in a Caddyfile.
type directive struct {
	name string

	// caddyfile makes a whole Caddyfile of what follows the name, which stands in this
	// line of it.
	caddyfile func(follows string) string
	line      int
}

var (
	wrapperDirective = directive{"listener wrapper", func(follows string) string {
		return "{\n" + lab.Wrappers("sockopt"+follows) + "\n}\n:80 {\n}\n"
	}, 4}
	handlerDirective = directive{"handler", func(follows string) string { return ":80 {\nsockopt" + follows + "\n}\n" }, 2}
	tcpInfoDirective = directive{"tcp_info", func(follows string) string { return ":80 {\ntcp_info" + follows + "\n}\n" }, 2}
	echoDirective    = directive{"echo_payload", func(follows string) string { return ":80 {\necho_payload" + follows + "\n}\n" }, 2}

	transportDirective = directive{"transport", func(follows string) string { return proxySite("sockopt" + follows) }, 3}
)

// proxySite is a site that forwards to a backend by one transport.
func proxySite(transport string) string {
	return ":80 {\nreverse_proxy 127.0.0.1:9101 {\ntransport " + transport + "\n}\n}\n"
}

// block is a block of lines that begin at the left.
func block(lines ...string) string {
	return " {\n" + strings.Join(lines, "\n") + "\n}"
}

// TestCaddyfile: package options reads what stands in the blocks of options.
func TestCaddyfile(t *testing.T) {
	t.Setenv("SOCKOPT_TEST_SIZE", "64KiB")
	t.Setenv("SOCKOPT_TEST_LINE", "nodelay off")
	for _, test := range []struct {
		name      string
		directive directive
		follows   string
		want      string
	}{
		{"bare", wrapperDirective, "", `{"wrapper":"sockopt"}`},
		{"empty block", wrapperDirective, block(), `{"wrapper":"sockopt"}`},
		{"options", wrapperDirective, block("nodelay on", "backlog 7"), `{"backlog":7,"nodelay":true,"wrapper":"sockopt"}`},
		{
			"value from the environment", wrapperDirective,
			block("recv_buffer {$SOCKOPT_TEST_SIZE}", "send_buffer {$SOCKOPT_TEST_UNSET:1MiB}"),
			`{"recv_buffer":65536,"send_buffer":1048576,"wrapper":"sockopt"}`,
		},
		{"line from the environment", wrapperDirective, block("{$SOCKOPT_TEST_LINE}"), `{"nodelay":false,"wrapper":"sockopt"}`},
		{"options", handlerDirective, block("cork on", "dscp ef"), `{"cork":true,"dscp":"ef","handler":"sockopt"}`},
		{"bare", tcpInfoDirective, "", `{"handler":"tcp_info"}`},

		{"bare", echoDirective, "", `{"handler":"echo_payload"}`},
		{"empty block", echoDirective, block(), `{"handler":"echo_payload"}`},
		{"size as argument", echoDirective, " 10000", `{"handler":"echo_payload","size":10000}`},
		{"nothing", echoDirective, " 0", `{"handler":"echo_payload","size":0}`},
		{"1 GiB", echoDirective, " 1GiB", `{"handler":"echo_payload","size":1073741824}`},
		{"size from the environment", echoDirective, " {$SOCKOPT_TEST_SIZE}", `{"handler":"echo_payload","size":65536}`},
		{"fill with a brace", echoDirective, block(`fill "}"`), `{"fill":"}","handler":"echo_payload"}`},
		{"fill with a space", echoDirective, block(`fill " "`), `{"fill":" ","handler":"echo_payload"}`},
		{
			"argument and block", echoDirective, " 1MiB" + block("write_size 1KiB"),
			`{"handler":"echo_payload","size":1048576,"write_size":1024}`,
		},
		{
			"every line", echoDirective,
			block("size 5", "fill x", "content_type text/html", "write_size 2", "flush_headers"),
			`{"content_type":"text/html","fill":"x","flush_headers":true,"handler":"echo_payload","size":5,"write_size":2}`,
		},
		{
			"content_type with a parameter", echoDirective, block(`content_type "text/plain; charset=utf-8"`),
			`{"content_type":"text/plain; charset=utf-8","handler":"echo_payload"}`,
		},
	} {
		t.Run(test.directive.name+" "+test.name, func(t *testing.T) {
			require.Equal(t, []string{test.want}, adaptedModules(t, test.directive.caddyfile(test.follows)))
		})
	}
}

// TestCaddyfileTakesAMatcher: each handler does.
func TestCaddyfileTakesAMatcher(t *testing.T) {
	for _, lines := range []string{"echo_payload /stars 5", "tcp_info /stars", "sockopt /stars {\ncork on\n}"} {
		adapted, err := inprocess.Adapt(":80 {\n" + lines + "\n}\n")
		require.NoError(t, err)
		require.Contains(t, string(adapted), `"match":[{"path":["/stars"]}]`)
	}
}

func TestCaddyfileWithImports(t *testing.T) {
	const snippet = "(buffers) {\nrecv_buffer {args[0]}\nsend_buffer {args[0]}\n}\n"
	importing := func(lines ...string) string { return snippet + wrapperDirective.caddyfile(block(lines...)) }
	require.Equal(t, []string{`{"nodelay":true,"quickack":"on","recv_buffer":65536,"send_buffer":65536,"wrapper":"sockopt"}`},
		adaptedModules(t, importing("nodelay on", "import buffers 64KiB", "quickack on")))

	_, err := inprocess.Adapt(importing("recv_buffer 4KiB", "import buffers 64KiB"))
	require.ErrorContains(t, err, "recv_buffer is set twice; leave one of them out, at Caddyfile:2 ")
	require.ErrorContains(t, err, "import chain ['Caddyfile:10 (import buffers)']")
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

// wholeTransport is every line that transport http takes, as Caddy documents it.
const wholeTransport = `read_buffer 8KiB
write_buffer 8KiB
max_response_header 64KiB
network_proxy none
proxy_protocol v2
dial_timeout 2s
dial_fallback_delay 100ms
response_header_timeout 3s
expect_continue_timeout 4s
resolvers 127.0.0.53
tls
tls_client_auth cert.pem key.pem
tls_insecure_skip_verify
tls_curves x25519
tls_timeout 5s
tls_server_name {vars.name}
tls_renegotiation once
tls_except_ports 8080
keepalive 1m
keepalive_interval 20s
keepalive_idle_conns 64
keepalive_idle_conns_per_host 16
versions 1.1 2
compression off
max_conns_per_host 100
read_timeout 6s
write_timeout 7s
local_address 127.0.0.1`

// proxyJSON is what a reverse_proxy has for its transport.
func proxyJSON(t *testing.T, caddyfile string) map[string]any {
	t.Helper()
	modules := adaptedModules(t, caddyfile)
	require.Len(t, modules, 1)
	var proxy struct {
		Transport map[string]any `json:"transport"`
	}
	require.NoError(t, json.Unmarshal([]byte(modules[0]), &proxy))
	return proxy.Transport
}

func TestTransportCaddyfile(t *testing.T) {
	for _, test := range []struct{ name, follows, want string }{
		{"bare", "", `{"protocol":"sockopt"}`},
		{"empty block", block(), `{"protocol":"sockopt"}`},
		{"empty socket", block("socket {", "}"), `{"protocol":"sockopt"}`},
		{"socket without a block", block("socket"), `{"protocol":"sockopt"}`},
		{"socket alone", block("socket {", "nodelay off", "dscp af21", "}"), `{"protocol":"sockopt","socket":{"dscp":"af21","nodelay":false}}`},
		{"http's alone", block("dial_timeout 2s"), `{"protocol":"sockopt","dial_timeout":2000000000}`},
		{"socket first", block("socket {", "quickack on", "}", "dial_timeout 2s"), `{"protocol":"sockopt","dial_timeout":2000000000,"socket":{"quickack":"on"}}`},
		{"socket last", block("dial_timeout 2s", "socket {", "quickack on", "}"), `{"protocol":"sockopt","dial_timeout":2000000000,"socket":{"quickack":"on"}}`},
		{
			"socket between, with a repeated option",
			block("versions 1.1", "socket {", "raw 6 9 3", "raw 6 10 4", "}", "dial_timeout 2s"),
			`{"protocol":"sockopt","versions":["1.1"],"dial_timeout":2000000000,"socket":{"raw":[{"level":6,"option":9,"value":3},{"level":6,"option":10,"value":4}]}}`,
		},
		{
			"a block of http's",
			block("tls_trust_pool inline {", "trust_der socket", "}", "socket {", "ttl 9", "}"),
			`{"protocol":"sockopt","tls":{"ca":{"provider":"inline","trusted_ca_certs":["socket"]}},"socket":{"ttl":9}}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := json.Marshal(proxyJSON(t, transportDirective.caddyfile(test.follows)))
			require.NoError(t, err)
			require.JSONEq(t, test.want, string(got))
		})
	}
}

// All that transport http takes means the same, with and without a socket block
// beside it.
func TestTransportCaddyfileIsThatOfHTTP(t *testing.T) {
	want := proxyJSON(t, proxySite("http"+block(wholeTransport)))
	require.Equal(t, "http", want["protocol"])
	want["protocol"] = "sockopt"
	require.Equal(t, want, proxyJSON(t, transportDirective.caddyfile(block(wholeTransport))))

	want["socket"] = map[string]any{"nodelay": true}
	lines := strings.Split(wholeTransport, "\n")
	for i := range lines {
		with := append(append([]string{}, lines[:i]...), "socket {", "nodelay on", "}")
		require.Equal(t, want, proxyJSON(t, transportDirective.caddyfile(block(append(with, lines[i:]...)...))))
	}
}

// What https:// and h2c:// mean for transport http, they mean for this one.
func TestTransportTakesTheScheme(t *testing.T) {
	for scheme, want := range map[string]string{
		"https://": `{"protocol":"sockopt","tls":{}}`,
		"h2c://":   `{"protocol":"sockopt","versions":["h2c","2"]}`,
	} {
		got, err := json.Marshal(proxyJSON(t, strings.Replace(transportDirective.caddyfile(""), "127.0.0.1", scheme+"127.0.0.1", 1)))
		require.NoError(t, err)
		require.JSONEq(t, want, string(got))
	}
}

// echoNames are the lines of echo_payload.
const echoNames = "size, fill, content_type, write_size or flush_headers"

func TestCaddyfileRefuses(t *testing.T) {
	for _, test := range []struct {
		name      string
		directive directive
		follows   string
		line      int // of the error, counted from the directive's, which is 0
		want      string
	}{
		{"argument", wrapperDirective, " on", 0, `sockopt takes no argument, but options in a block, one a line; "on" is too many`},
		{"option as argument", wrapperDirective, " nodelay on", 0, `sockopt takes no argument, but options in a block, one a line; "nodelay" is too many`},
		{"argument and block", wrapperDirective, " on" + block("nodelay on"), 0, `sockopt takes no argument, but options in a block, one a line; "on" is too many`},
		{"bad value", wrapperDirective, block("backlog 7", "nodelay yes"), 2, `nodelay: "yes" is not on or off`},
		{"option of a route", wrapperDirective, block("cork on"), 1, `cork cannot be set here, but for the requests of a route (`},
		{"runtime placeholder", wrapperDirective, block("nodelay {env.NODELAY}"), 1, `nodelay: "{env.NODELAY}" is not on or off`},
		{"unset variable", wrapperDirective, block("nodelay {$SOCKOPT_TEST_UNSET}"), 1, `nodelay needs one value: on or off`},
		{"bad value", handlerDirective, block("cork yes"), 1, `cork: "yes" is not on or off`},
		{"option of a listener", handlerDirective, block("backlog 7"), 1, `backlog cannot be set here, but on listening sockets (`},
		{"argument", tcpInfoDirective, " on", 0, `tcp_info takes nothing but a matcher; "on" is too many`},
		{"block", tcpInfoDirective, block("rtt"), 1, `tcp_info takes nothing but a matcher; "rtt" is too many`},

		{"no size", echoDirective, " stars", 0, `echo_payload: "stars" is not a size such as 64KiB, 1MB or a number of bytes`},
		{"empty size", echoDirective, ` ""`, 0, `echo_payload: "" is not a size such as 64KiB, 1MB or a number of bytes`},
		{"negative size", echoDirective, " -1", 0, `echo_payload: "-1" is not a size such as 64KiB, 1MB or a number of bytes`},
		{"two sizes", echoDirective, " 1 2", 0, `echo_payload takes one value, a size such as 64KiB, 1MB or a number of bytes; "2" is too many`},
		{"size before and in the block", echoDirective, " 10000" + block("size 5"), 1, `size is set twice; leave one of them out`},
		{"size twice in the block", echoDirective, block("size 5", "size 5"), 2, `size is set twice; leave one of them out`},
		{"unknown line", echoDirective, block("bytes 5"), 1, `unknown option "bytes"; here it can be ` + echoNames},
		{"option of a socket", echoDirective, block("fill x", "nodelay on"), 2, `unknown option "nodelay"; here it can be ` + echoNames},
		{"no fill", echoDirective, block("fill"), 1, `fill needs one value: one ASCII character`},
		{"empty fill", echoDirective, block(`fill ""`), 1, `fill: "" is not one ASCII character, such as *`},
		{"two characters", echoDirective, block("fill ab"), 1, `fill: "ab" is not one ASCII character, such as *`},
		{"character of two bytes", echoDirective, block("fill ä"), 1, `fill: "ä" is not one ASCII character, such as *`},
		{"fill twice", echoDirective, block("fill a", "fill b"), 2, `fill is set twice; leave one of them out`},
		{"empty type", echoDirective, block(`content_type ""`), 1, `content_type: "" is not a media type such as text/plain`},
		{"type in two words", echoDirective, block("content_type text/plain; charset=utf-8"), 1, `content_type takes one value, a media type such as text/plain; "charset=utf-8" is too many`},
		{"pieces of nothing", echoDirective, block("write_size 0"), 1, `write_size: must be at least 1 byte; leave it out to send the payload in one piece`},
		{"pieces of no size", echoDirective, block("write_size small"), 1, `write_size: "small" is not a size such as 64KiB, 1MB or a number of bytes`},
		{"switch with a value", echoDirective, block("flush_headers on"), 1, `flush_headers takes no value; "on" is too many`},
		{"switch twice", echoDirective, block("flush_headers", "flush_headers"), 2, `flush_headers is set twice; leave one of them out`},
		{"switch with a block", echoDirective, block("flush_headers {", "now", "}"), 1, `flush_headers takes no block`},

		{"unknown line", transportDirective, block("no_delay on"), 1, "unrecognized subdirective no_delay"},
		{"option outside of socket", transportDirective, block("dial_timeout 2s", "nodelay on"), 2, "nodelay is a socket option: write it into a block, socket { nodelay … }"},
		{"keepalive outside of socket", transportDirective, block("keepalive 2m", "keepalive_interval 9s", "keepalive_idle 30s"), 3, "keepalive_idle is a socket option: write it into a block, socket { keepalive_idle … }"},
		{"bad value of http's", transportDirective, block("socket {", "nodelay on", "}", "dial_timeout soon"), 4, "bad timeout value 'soon'"},
		{"socket twice", transportDirective, block("socket {", "nodelay on", "}", "socket {", "ttl 9", "}"), 4, "socket is set twice; leave one of them out"},
		{"socket with an argument", transportDirective, block("socket nodelay on"), 1, `socket takes no argument, but options in a block, one a line; "nodelay" is too many`},
		{"socket with an argument and a block", transportDirective, block("socket on {", "nodelay on", "}"), 1, `socket takes no argument, but options in a block, one a line; "on" is too many`},
		{"line of http's in socket", transportDirective, block("socket {", "dial_timeout 2s", "}"), 2, `unknown option "dial_timeout"`},
		{"option twice", transportDirective, block("socket {", "ttl 9", "ttl 9", "}"), 3, "ttl is set twice; leave one of them out"},
	} {
		t.Run(test.directive.name+" "+test.name, func(t *testing.T) {
			_, err := inprocess.Adapt(test.directive.caddyfile(test.follows))
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, fmt.Sprintf(", at Caddyfile:%d", test.directive.line+test.line))
		})
	}
}

// unmarshal reads a directive.
func unmarshal(module caddyfile.Unmarshaler, text string) error {
	tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
	if err != nil {
		return err
	}
	return module.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens))
}
