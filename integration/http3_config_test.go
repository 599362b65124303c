package integration_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// h3Site is a site that serves HTTP/3.
type h3Site struct {
	addr        string
	certificate *lab.Certificate
}

func newH3Site(t testing.TB) *h3Site {
	t.Helper()
	certificate, err := lab.NewCertificate(t.TempDir(), "127.0.0.2", "127.0.0.3")
	require.NoError(t, err)
	return &h3Site{lab.Address(t), certificate}
}

// stockHTTP3 are the global options of a server without sockopt.
const stockHTTP3 = "servers {\nprotocols h1 h2 h3\n}"

// h3Wrapper are the global options of a server with sockopt.
func h3Wrapper(options ...string) string {
	return "servers" + lab.Block("protocols h1 h2 h3", "packet_conn_wrappers {", "sockopt"+lab.Block(options...), "}")
}

// site is the site, with directives.
func (s *h3Site) site(directives ...string) string {
	return fmt.Sprintf("https://%s%s", s.addr, lab.Block(append(directives, fmt.Sprintf("tls %s %[1]s", s.certificate.File))...))
}

// client returns a client that speaks HTTP/3 alone, over a connection of its own to the
// site's port at a host.
func (s *h3Site) client(t testing.TB, host string) *http.Client {
	t.Helper()
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.certificate.Roots, ServerName: lab.Loopback, MinVersion: tls.VersionTLS13},
		Dial: func(ctx context.Context, _ string, tlsConfig *tls.Config, config *quic.Config) (*quic.Conn, error) {
			return quic.DialAddrEarly(ctx, net.JoinHostPort(host, lab.PortOf(s.addr)), tlsConfig, config)
		},
	}
	t.Cleanup(func() { transport.Close() })
	return &http.Client{Transport: transport, Timeout: lab.Patience}
}

// fetch gets the site over HTTP/3 and a new connection, and returns the body.
func (s *h3Site) fetch(t testing.TB) string {
	t.Helper()
	return s.get(t, s.client(t, lab.Loopback))
}

func (s *h3Site) get(t testing.TB, client *http.Client) string {
	t.Helper()
	resp, err := client.Get("https://" + s.addr + "/")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, 3, resp.ProtoMajor)
	return string(body)
}

// datagramUse is an entry of packets in the answer of GET /sockopt/.
type datagramUse struct {
	Server     string           `json:"server"`
	Address    string           `json:"address"`
	Metrics    bool             `json:"metrics"`
	Options    []options.Effect `json:"options"`
	RecvBuffer int64            `json:"recv_buffer"`
	SendBuffer int64            `json:"send_buffer"`
	Dropped    uint64           `json:"dropped_datagrams"`
}

// datagramUses returns the UDP sockets that have options.
func datagramUses(t testing.TB, c *lab.Running) []datagramUse {
	t.Helper()
	status, text := c.API(http.MethodGet, "/sockopt/", "", "")
	require.Equal(t, http.StatusOK, status, text)
	var answer struct {
		Packets []datagramUse `json:"packets"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &answer))
	return answer.Packets
}

// effects are the options of a socket as lines of the Caddyfile.
func (u datagramUse) effects() (lines []string) {
	for _, e := range u.Options {
		lines = append(lines, e.Option+" "+e.Effective)
	}
	return lines
}

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

// BenchmarkHTTP3Download compares a large download with that of stock Caddy, in turn.
func BenchmarkHTTP3Download(b *testing.B) {
	const size = 32 << 20
	stock := newH3Site(b)
	ours := &h3Site{lab.Address(b), stock.certificate}
	directive := fmt.Sprintf("echo_payload %d", size)
	wrapped := fmt.Sprintf("servers :%s {\npacket_conn_wrappers {\nsockopt {\nrecv_buffer 8MiB\ndscp af21\nmetrics\n}\n}\n}", lab.PortOf(ours.addr))
	lab.Spawn(b, wrapped, stock.site(directive)+"\n"+ours.site(directive))
	clients := map[*h3Site]*http.Client{stock: stock.client(b, lab.Loopback), ours: ours.client(b, lab.Loopback)}
	var ratios []float64
	for b.Loop() {
		took := make(map[*h3Site]float64)
		order := []*h3Site{stock, ours}
		if len(ratios)%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			begin := time.Now()
			require.Len(b, s.get(b, clients[s]), size)
			took[s] = time.Since(begin).Seconds()
		}
		ratios = append(ratios, took[stock]/took[ours])
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "throughput/stock")
}
