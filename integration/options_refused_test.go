package integration_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestBadConfigurationIsRefused loads configurations that each module refuses. The error
// comes back in the answer, and the running configuration goes on.
func TestBadConfigurationIsRefused(t *testing.T) {
	c, client := serve(t, "sockopt")
	route := func(lines string) string {
		return c.config("", fmt.Sprintf("http://%s {\nsockopt {\n%s\n}\necho_payload\n}", c.addr, lines))
	}
	proxy := func(lines string) string {
		return c.config("", fmt.Sprintf("http://%s {\nreverse_proxy 127.0.0.1:9101 {\ntransport sockopt {\n%s\n}\n}\n}", c.addr, lines))
	}
	for _, bad := range []struct {
		name, caddyfile string
		was, is         string // in its JSON, where it is loaded as such
		want            string
	}{
		{name: "unknown option", caddyfile: c.with("sockopt {\nno_delay on\n}"), want: `unknown option "no_delay"`},
		{name: "unknown option in JSON", caddyfile: c.with("sockopt"), was: `"wrapper":"sockopt"`, is: `"wrapper":"sockopt","no_delay":true`, want: `unknown option "no_delay"`},
		{name: "bad value", caddyfile: c.with("sockopt {\nuser_timeout 9 days\n}"), want: "user_timeout takes one value"},
		{name: "bad value in JSON", caddyfile: c.with("sockopt"), was: `"wrapper":"sockopt"`, is: `"wrapper":"sockopt","user_timeout":"9 days"`, want: `user_timeout: "9 days" is not a duration`},
		{name: "the kernel's refusal", caddyfile: c.with("sockopt {\nraw 9999 1 1\n}"), want: "raw 9999 1 1: this kernel refuses level 9999 option 1: setsockopt: protocol not available; leave the option out, or set on_unsupported warn"},
		{name: "two wrappers", caddyfile: c.with("sockopt\nsockopt"), want: "sockopt is listed twice among the listener wrappers"},

		{name: "option of another phase for a backend", caddyfile: proxy("socket {\nbacklog 9\n}"), want: "backlog cannot be set here, but on listening sockets"},
		{name: "the kernel's refusal for a backend", caddyfile: proxy("socket {\nraw 6 9999 1\n}"), want: "raw 6 9999 1: this kernel refuses level 6 option 9999: setsockopt: protocol not available"},
		{name: "option outside of socket", caddyfile: proxy("nodelay on"), want: "nodelay is a socket option: write it into a block, socket { nodelay … }"},
		{
			name: "transport inside php_fastcgi", caddyfile: c.config("", fmt.Sprintf("http://%s {\nphp_fastcgi 127.0.0.1:9101 {\ntransport sockopt\n}\n}", c.addr)),
			want: "transport already specified",
		},
		{name: "HTTP/3 to a backend", caddyfile: proxy("tls\nversions 3\nsocket {\nnodelay on\n}"), want: "socket: HTTP/3 runs over UDP"},

		{name: "no option for a route", caddyfile: route(""), want: "sockopt in a site or route sets options for its requests and has none"},
		{name: "option of another phase for a route", caddyfile: route("keepalive on"), want: "keepalive cannot be set here, but on accepted connections"},

		{name: "acknowledgements for a route", caddyfile: route("quickack auto"), want: "quickack cannot be set here, but on accepted connections (servers { listener_wrappers { sockopt { quickack … } } } in the global options)"},
		{name: "acknowledgements outside of socket", caddyfile: proxy("quickack auto"), want: "quickack is a socket option: write it into a block, socket { quickack … }"},
		{name: "name like an option's", caddyfile: c.with("sockopt {\nrecv_buf 256KiB\n}"), want: `unknown option "recv_buf" (did you mean recv_buffer?)`},
		{name: "the kernel's name", caddyfile: c.with("sockopt {\nSO_RCVBUF 256KiB\n}"), want: `unknown option "SO_RCVBUF" (did you mean recv_buffer?)`},
		{name: "the kernel's name in small letters", caddyfile: proxy("socket {\ntcp_user_timeout 9s\n}"), want: `unknown option "tcp_user_timeout" (did you mean user_timeout?)`},

		{name: "payload of less than nothing", caddyfile: c.config("", lab.EchoSite(c.addr)), was: `"handler":"echo_payload"`, is: `"handler":"echo_payload","size":-1`, want: "-1"},
		{name: "unknown field of the payload", caddyfile: c.config("", lab.EchoSite(c.addr)), was: `"handler":"echo_payload"`, is: `"handler":"echo_payload","bytes":5`, want: `json: unknown field "bytes"`},
	} {
		ok := t.Run(bad.name, func(t *testing.T) {
			_, before := c.API(http.MethodGet, "/config/", "", "")
			contentType, body := "text/caddyfile", bad.caddyfile
			if bad.was != "" {
				adapted, err := inprocess.Adapt(bad.caddyfile)
				require.NoError(t, err)
				require.Equal(t, 1, strings.Count(string(adapted), bad.was))
				contentType, body = "application/json", strings.Replace(string(adapted), bad.was, bad.is, 1)
			}
			status, answer := c.Load(contentType, body)
			require.Equal(t, http.StatusBadRequest, status, answer)
			require.Contains(t, errorIn(t, answer), bad.want)
			client.get(t)
			_, after := c.API(http.MethodGet, "/config/", "", "")
			require.JSONEq(t, before, after)
		})
		require.True(t, ok, "the configuration is another now")
	}
}
