package integration_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
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
