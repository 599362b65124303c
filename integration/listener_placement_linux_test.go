package integration_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// placements are the places of sockopt among a server's listener wrappers.
var placements = []struct {
	name, wrappers string
	proxied        bool // clients begin with a PROXY header
	secure         bool // plain HTTP is redirected
}{
	{name: "alone", wrappers: "sockopt"}, // Caddy puts tls first
	{name: "before tls", wrappers: "sockopt\ntls"},
	{name: "before http_redirect", wrappers: "sockopt\nhttp_redirect\ntls", secure: true},
	{name: "after http_redirect", wrappers: "http_redirect\nsockopt\ntls", secure: true},
	{name: "after http_redirect and tls", wrappers: "http_redirect\ntls\nsockopt", secure: true},
	{name: "before proxy_protocol", wrappers: "sockopt\n" + localProxies + "\ntls", proxied: true},
	{name: "after proxy_protocol", wrappers: localProxies + "\nsockopt\ntls", proxied: true},
	{name: "after proxy_protocol and tls", wrappers: localProxies + "\ntls\nsockopt", proxied: true},
	{name: "after everything", wrappers: localProxies + "\nhttp_redirect\ntls\nsockopt", proxied: true, secure: true},
}

const localProxies = "proxy_protocol {\nallow 127.0.0.1/32\n}"

// TestPlacement: clients with Nagle's algorithm on do not wait, wherever sockopt is
// listed, whatever they speak, and nothing is warned of.
func TestPlacement(t *testing.T) {
	t.Parallel()
	for _, place := range placements {
		t.Run(place.name, func(t *testing.T) {
			cert := lab.Certify(t)
			plain, secure := lab.Address(t), lab.Address(t)
			c := lab.Spawn(t, "servers {\nprotocols h1 h2 h2c\nlistener_wrappers {\n"+place.wrappers+"\n}\n}",
				fmt.Sprintf("http://%s {\necho_payload\n}\nhttps://%s {\ntls %s %[3]s\necho_payload\n}\n", plain, secure, cert.File))
			for _, protocol := range []struct{ name, addr, alpn string }{
				{"HTTP/1.1", plain, ""},
				{"h2c", plain, ""},
				{"HTTP/1.1 over TLS", secure, "http/1.1"},
				{"HTTP/2 over TLS", secure, http2.NextProtoTLS},
			} {
				if place.secure && protocol.alpn == "" {
					continue
				}
				t.Run(protocol.name, func(t *testing.T) {
					conn, err := net.Dial("tcp", protocol.addr)
					require.NoError(t, err)
					defer conn.Close()
					client := &lab.Client{TCP: conn.(*net.TCPConn)}
					require.NoError(t, client.TCP.SetNoDelay(false))
					if place.proxied {
						_, err := io.WriteString(conn, "PROXY TCP4 192.0.2.1 127.0.0.1 4000 443\r\n")
						require.NoError(t, err)
					}
					if protocol.alpn != "" {
						conn = tls.Client(conn, &tls.Config{RootCAs: cert.Roots, ServerName: lab.Loopback, NextProtos: []string{protocol.alpn}, MinVersion: tls.VersionTLS12})
					}
					if protocol.name == "h2c" || protocol.alpn == http2.NextProtoTLS {
						exchange, err := lab.NewHTTP2(conn, protocol.addr)
						require.NoError(t, err)
						client.Exchange = exchange
					} else {
						client.Exchange = lab.NewHTTP1(conn, protocol.addr)
					}
					measure := timed(func() { client.Ask(t, client.SendInPieces) })
					for range warmUp {
						measure()
					}
					requireWithin(t, 20*time.Millisecond, measure)
				})
			}
			listeners := statusOf(t, c).Listeners
			require.NotEmpty(t, listeners)
			for _, l := range listeners {
				require.Equal(t, "auto", l.QuickAck)
				if place.secure && lab.PortOf(l.Address) == lab.PortOf(plain) {
					continue
				}
				require.EqualValues(t, 2, l.Counters.Connections)
				require.GreaterOrEqual(t, l.Counters.Acknowledged, uint64(warmUp+batch), "one for each request of one of the two connections at least")
				require.Zero(t, l.Counters.Unreachable)
			}
			require.Empty(t, c.Warnings())
		})
	}
}

// TestProxyProtocolBesideSockopt: the PROXY protocol's list of peers and its addresses
// work, on both sides of sockopt.
func TestProxyProtocolBesideSockopt(t *testing.T) {
	const proxy = "proxy_protocol {\nallow %s\nfallback_policy reject\n}"
	for _, order := range []string{"sockopt\n" + proxy, proxy + "\nsockopt"} {
		for _, test := range []struct{ allow, want string }{
			{"127.0.0.1/32", "192.0.2.1"},
			{"198.51.100.0/24", ""},
		} {
			addr := lab.Address(t)
			c := lab.Spawn(t, lab.Wrappers(fmt.Sprintf(order, test.allow)),
				fmt.Sprintf("http://%s {\nlog\nrespond {http.request.remote.host}\n}\n", addr))
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(lab.Patience)))
			_, err = fmt.Fprintf(conn, "PROXY TCP4 192.0.2.1 127.0.0.1 4000 80\r\nGET / HTTP/1.1\r\nHost: %s\r\n\r\n", addr)
			require.NoError(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if test.want == "" {
				require.Error(t, err, "a peer that is not allowed was served")
				continue
			}
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, test.want, string(body))
			require.Eventually(t, func() bool { return strings.Contains(c.Logged(), `"remote_ip":"192.0.2.1"`) }, lab.Patience, time.Millisecond)
		}
	}
}

// TestSecondWrapper: two sockopt on one server would hide each other's effect.
func TestSecondWrapper(t *testing.T) {
	c, client := serve(t, "sockopt")
	status, answer := c.Load("text/caddyfile", c.with("sockopt\ntls\nsockopt {\nnodelay on\n}"))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, answer, "sockopt is listed twice among the listener wrappers of server srv0; put all options into one of them")
	client.get(t)
}
