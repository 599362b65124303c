package integration_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

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
	return &h3Site{lab.Address(t), lab.Certify(t)}
}

// global are the global options for a sockopt that has options, or for none at all.
func (s *h3Site) global(protocols string, wrapper ...string) string {
	lines := []string{"protocols " + protocols}
	if len(wrapper) > 0 {
		lines = append(lines, "packet_conn_wrappers {", wrapper[0]+lab.Block(wrapper[1:]...), "}")
	}
	return "servers" + lab.Block(lines...)
}

// site is the site, with directives.
func (s *h3Site) site(directives ...string) string {
	return fmt.Sprintf("https://%s%s", s.addr, lab.Block(append(directives, fmt.Sprintf("tls %s %[1]s", s.certificate.File))...))
}

// h3Client returns a client that speaks HTTP/3 alone, over a connection of its own.
func h3Client(t testing.TB, c *lab.Certificate) *http.Client {
	t.Helper()
	transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: c.Roots, ServerName: lab.Loopback, MinVersion: tls.VersionTLS13}}
	t.Cleanup(func() { transport.Close() })
	return &http.Client{Transport: transport, Timeout: lab.Patience}
}

// fetch gets the site over HTTP/3 and a new connection, and returns the body.
func (s *h3Site) fetch(t testing.TB) string {
	t.Helper()
	return h3Get(t, h3Client(t, s.certificate), "https://"+s.addr+"/")
}

func h3Get(t testing.TB, client *http.Client, url string) string {
	t.Helper()
	resp, err := client.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, 3, resp.ProtoMajor)
	return string(body)
}

// packetUse is an entry of packets in the answer of GET /sockopt/.
type packetUse struct {
	Server, Address string
	Metrics         bool
	Options         []options.Effect
	RecvBuffer      int64  `json:"recv_buffer"`
	SendBuffer      int64  `json:"send_buffer"`
	Dropped         uint64 `json:"dropped_datagrams"`
}

// packets returns the UDP sockets that have options.
func packets(t testing.TB, c *lab.Running) []packetUse {
	t.Helper()
	var answer struct{ Packets []packetUse }
	requireStatus(t, c, &answer)
	return answer.Packets
}

// packet returns the only UDP socket that has options.
func packet(t testing.TB, c *lab.Running) packetUse {
	t.Helper()
	all := packets(t, c)
	require.Len(t, all, 1)
	return all[0]
}

// effects are the options of a socket as lines.
func (p packetUse) effects() string {
	var b strings.Builder
	for _, e := range p.Options {
		fmt.Fprintln(&b, e.Option, e.Effective)
	}
	return b.String()
}
