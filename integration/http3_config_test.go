package integration_test

import (
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestHTTP3Refused: what is wrong is an error at load, in the Caddyfile and in JSON.
func TestHTTP3Refused(t *testing.T) {
	s := newH3Site(t)
	c := inprocess.Run(t, "", s.site("echo_payload"))
	for _, test := range []struct {
		wrappers []string
		want     string
	}{
		{[]string{"sockopt {", "nodelay on", "}"}, "nodelay cannot be set here, but on accepted connections"},
		{[]string{"sockopt {", "backlog 3", "}"}, "here it can be busy_poll, recv_buffer, send_buffer, dscp, priority, mark, ttl, interface, raw, metrics or on_unsupported"},
		{[]string{"sockopt {", "dscp af44", "}"}, `dscp: "af44" is not a code point`},
		{[]string{"sockopt {", "ttl 4", "ttl 5", "}"}, "ttl is set twice"},
		{[]string{"sockopt on"}, "sockopt takes no argument"},
		{[]string{"sockopt", "sockopt"}, "sockopt is listed twice among the packet conn wrappers of server srv0; put all options into one of them"},
	} {
		status, answer := c.Load("text/caddyfile", c.Caddyfile("servers {\npacket_conn_wrappers"+lab.Block(test.wrappers...)+"\n}", s.site()))
		require.Equal(t, http.StatusBadRequest, status, answer)
		require.Contains(t, errorIn(t, answer), test.want)
	}
}

// TestHTTP3ConfigurationInJSON: the Caddyfile is a list of modules in JSON.
func TestHTTP3ConfigurationInJSON(t *testing.T) {
	s := newH3Site(t)
	c := inprocess.Run(t, "", s.site("echo_payload"))
	adapted, err := inprocess.Adapt(c.Caddyfile(h3Wrapper("recv_buffer 8MiB", "metrics", "on_unsupported warn"), s.site("echo_payload")))
	require.NoError(t, err)
	require.Contains(t, string(adapted), `"packet_conn_wrappers":[{"metrics":true,"on_unsupported":"warn","recv_buffer":8388608,"wrapper":"sockopt"}]`)
	status, answer := c.Load("application/json", string(adapted))
	require.Equal(t, http.StatusOK, status, answer)
	validate(t, c.Caddyfile(h3Wrapper("recv_buffer 8MiB", "on_unsupported warn"), s.site("echo_payload")))
}

// TestHTTP3BehindAnotherWrapper: a site goes on without options, and the log says why.
func TestHTTP3BehindAnotherWrapper(t *testing.T) {
	s := newH3Site(t)
	global := "servers" + lab.Block("protocols h1 h2 h3", "packet_conn_wrappers {", hidingPackets{}.name(), "sockopt {", "recv_buffer 8MiB", "on_unsupported warn", "}", "}")
	c := inprocess.Run(t, global, s.site("bind 127.0.0.1", "echo_payload"))
	require.Equal(t, string(lab.Stars), s.fetch(t))
	require.Empty(t, datagramUses(t, c))
	errors := c.Entries("error")
	require.Len(t, errors, 1)
	require.Equal(t, "cannot reach the UDP socket behind another packet conn wrapper; list sockopt first", errors[0].Message)
}

func init() { caddy.RegisterModule(hidingPackets{}) }

// hidingPackets is a packet conn wrapper that hides the socket.
type hidingPackets struct{}

func (hidingPackets) name() string { return "test_hiding" }

func (w hidingPackets) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  caddy.ModuleID("caddy.packetconns." + w.name()),
		New: func() caddy.Module { return new(hidingPackets) },
	}
}

func (hidingPackets) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (hidingPackets) WrapPacketConn(conn net.PacketConn) net.PacketConn {
	return struct{ net.PacketConn }{conn}
}

// TestHTTP3HasNoOptionsOfTCP: what a listener wrapper limits or marks, clients of HTTP/3 pass
// by, and the log says what to do.
func TestHTTP3HasNoOptionsOfTCP(t *testing.T) {
	const (
		wrapper = "listener_wrappers {\nsockopt {\npacing_rate 1GiB\nuser_timeout 30s\ndscp af21\n}\n}"
		packets = "packet_conn_wrappers {\nsockopt {\ndscp af21\n}\n}"
		pacing  = "HTTP/3 has no pacing_rate of a listener wrapper; set it in a route as well (sockopt { pacing_rate … } in the site), or leave HTTP/3 out with protocols h1 h2"
		timeout = "HTTP/3 has no user_timeout of a listener wrapper; if that matters, leave HTTP/3 out with protocols h1 h2"
		dscp    = "HTTP/3 has no dscp of a listener wrapper; set it in packet_conn_wrappers { sockopt { dscp … } } as well, or leave HTTP/3 out with protocols h1 h2"
	)
	for _, test := range []struct {
		name, servers string
		want          []string
	}{
		{"HTTP/3", wrapper, []string{pacing, timeout, dscp}},
		{"a packet wrapper", wrapper + "\n" + packets, []string{pacing, timeout}},
		{"no HTTP/3", wrapper + "\nprotocols h1 h2", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newH3Site(t)
			c := inprocess.Run(t, "servers {\n"+test.servers+"\n}", s.site("echo_payload"))
			var got []string
			for _, w := range c.Warnings() {
				got = append(got, w.Message)
			}
			require.Equal(t, test.want, got)
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		c := inprocess.Run(t, "servers {\n"+wrapper+"\n}", "http://"+lab.Address(t)+" {\necho_payload\n}")
		require.Empty(t, c.Warnings())
	})
}
