package sockopt

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// validate provisions a server with these members, as caddy validate does.
func validate(t *testing.T, server string) error {
	t.Helper()
	var c caddy.Config
	require.NoError(t, json.Unmarshal(fmt.Appendf(nil, `{
		"admin": {"disabled": true, "config": {"persist": false}},
		"logging": {"logs": {"default": {"writer": {"output": "discard"}}}},
		"apps": {"http": {"servers": {"srv0": {"listen": ["127.0.0.1:0"], %s}}}}
	}`, server), &c))
	return caddy.Validate(&c)
}

// Members of a server with one of the plugin's modules.
const (
	asWrapper   = `"listener_wrappers": [{"wrapper": "sockopt", %s}]`
	asHandler   = `"routes": [{"handle": [{"handler": "sockopt", %s}]}]`
	asSlowest   = `"write_min_rate": 102400, ` + asHandler
	asTransport = `"routes": [{"handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:1"}], "transport": {"protocol": "sockopt", %s}}]}]`
	asEcho      = `"routes": [{"handle": [{"handler": "echo_payload", %s}]}]`
)

// TestProvisionRefuses: what a Caddyfile cannot have, or its grammar cannot see, is
// refused with the path of the module.
func TestProvisionRefuses(t *testing.T) {
	const (
		wrapper   = "caddy.listeners.sockopt: "
		handler   = "http.handlers.sockopt: "
		transport = "http.reverse_proxy.transport.sockopt: "
		echo      = "http.handlers.echo_payload: "
	)
	for _, test := range []struct{ name, where, members, module, want string }{
		{"unknown option", asWrapper, `"nodelai": true`, wrapper, `unknown option "nodelai" (did you mean nodelay?)`},
		{"bad value", asWrapper, `"nodelay": 1`, wrapper, `nodelay: 1 is not true, false, "on" or "off"`},
		{"out of range", asWrapper, `"recv_buffer": 0`, wrapper, "recv_buffer: 0 is not from 1 to 1073741823 bytes; leave the option out for the kernel's default"},
		{"of another phase", asWrapper, `"cork": true`, wrapper, "cork cannot be set here, but for the requests of a route ("},
		{"refused by the kernel", asWrapper, `"raw": [{"level": 6, "option": 9999, "value": 1}]`, wrapper, "raw 6 9999 1: "},
		{"the last of two counts", asWrapper, `"user_timeout": "2s", "user_timeout": "-1s"`, wrapper, `user_timeout: "-1s" is not a duration`},

		{"no option", asHandler, `"on_unsupported": "fail"`, handler, "sockopt in a site or route sets options for its requests and has none; it can be nodelay, delayed_ack_max"},
		{"of a listener", asHandler, `"keepalive": true`, handler, "keepalive cannot be set here, but on accepted connections "},
		{"acknowledgements", asHandler, `"quickack": "on"`, handler, "quickack cannot be set here"},
		{"metrics", asHandler, `"metrics": true`, handler, "metrics cannot be set here"},
		{"bad value", asHandler, `"priority": -1`, handler, "priority: -1 is not from 0"},

		{"pacing_after alone", asHandler, `"priority": 1, "pacing_after": "1MiB"`, handler, "pacing_after is what goes before pacing_rate holds; set pacing_rate beside it"},
		{
			"slower than the server permits", asSlowest, `"pacing_rate": "50KiB"`, handler,
			"pacing_rate 50KiB is less than the write_min_rate of the server, 102400 bytes a second, so Caddy would end the responses; make one larger or the other smaller",
		},

		{"unknown option", asTransport, `"socket": {"no_delay": true}`, transport, `unknown option "no_delay" (did you mean nodelay?)`},
		{"option outside of socket", asTransport, `"nodelay": true`, transport, `nodelay is a socket option: write it into "socket": {"nodelay": …}`},
		{"of a listener", asTransport, `"socket": {"backlog": 9}`, transport, "backlog cannot be set here, but on listening sockets "},
		{"of accepted connections", asTransport, `"socket": {"linger": "5s"}`, transport, "linger cannot be set here, but on accepted connections "},
		{"bad value", asTransport, `"socket": {"ttl": 256}`, transport, "ttl: 256 is not from 1 to 255"},
		{
			"HTTP/3", asTransport, `"tls": {}, "versions": ["3"], "socket": {"nodelay": true}`, transport,
			"socket: HTTP/3 runs over UDP, which has none of these options; remove socket, or remove 3 from versions",
		},
		{"unknown version", asTransport, `"versions": ["4"]`, transport, "unsupported HTTP version: 4"},

		{"unknown field", asEcho, `"bytes": 5`, echo, `json: unknown field "bytes"`},
		{"negative size", asEcho, `"size": -1`, echo, "-1 is not a size such as 64KiB, 1MB or a number of bytes"},
		{"two characters", asEcho, `"fill": "ab"`, echo, `fill: "ab" is not one ASCII character, such as *`},
		{"bad type", asEcho, `"content_type": "text plain"`, echo, `content_type: "text plain" is not a media type such as text/plain`},
		{"pieces of nothing", asEcho, `"write_size": 0`, echo, "write_size: must be at least 1 byte; leave it out to send the payload in one piece"},
	} {
		t.Run(test.module+test.name, func(t *testing.T) {
			err := validate(t, fmt.Sprintf(test.where, test.members))
			require.ErrorContains(t, err, test.module)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestProvisionTakes(t *testing.T) {
	for _, server := range []string{
		strings.Replace(asWrapper, ", %s", "", 1),
		fmt.Sprintf(asWrapper, `"keepalive_idle": "-1s", "keepalive_idle": "2s"`), // the last of two counts
		fmt.Sprintf(asTransport, `"socket": {"keepalive_idle": "30s"}`),
		fmt.Sprintf(asTransport, `"tls": {}, "versions": ["3"]`),
		fmt.Sprintf(asEcho, `"size": "1KiB"`),
		fmt.Sprintf(asHandler, `"priority": 3`),
	} {
		if strings.Contains(server, "priority") && !socket.Priority.Supported() {
			continue
		}
		require.NoError(t, validate(t, server), server)
		for _, direction := range []stats.Direction{stats.Accepted, stats.Dialed, stats.Route} {
			require.Empty(t, entriesOf(direction))
		}
	}
}

// TestSecondWrapperIsRefused: a server takes one sockopt.
func TestSecondWrapperIsRefused(t *testing.T) {
	err := validate(t, `"listener_wrappers": [{"wrapper": "sockopt"}, {"wrapper": "tls"}, {"wrapper": "sockopt"}]`)
	require.ErrorContains(t, err, "caddy.listeners.sockopt: sockopt is listed twice among the listener wrappers of server srv0")
}
