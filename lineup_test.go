package sockopt

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wrapping is what a server's listener is wrapped in.
type wrapping struct {
	name  string // as the tables show it
	lines string // in the Caddyfile
}

var (
	wrapStock = wrapping{name: "stock"}
	wrapAuto  = wrapping{"auto", "sockopt"}
	wrapOn    = wrapping{"on", "sockopt {\nquickack on\n}"}
	wrapNagle = wrapping{"nodelay off", "sockopt {\nnodelay off\n}"}
)

// protocol is what a server speaks to its clients.
type protocol string

const (
	protocolPlain protocol = "plain" // HTTP/1.1
	protocolTLS   protocol = "TLS"   // HTTP/1.1
	protocolH2C   protocol = "h2c"   // HTTP/2 with prior knowledge
)

// contender is one of the servers that a test compares.
type contender struct {
	wrapping
	protocol
	addr  string
	roots *x509.CertPool // what a client trusts
}

// lineup is the servers that a test compares, and the Caddyfile for them.
type lineup struct {
	options       string // of every server
	global, sites strings.Builder
	contenders    []contender
	cert          string // file, made when it is first needed
	roots         *x509.CertPool
}

// add adds a server that does as the directives say, and returns it.
func (l *lineup) add(t testing.TB, w wrapping, p protocol, directives string) contender {
	t.Helper()
	c := contender{wrapping: w, protocol: p, addr: address(t)}
	_, port, err := net.SplitHostPort(c.addr)
	require.NoError(t, err)

	scheme, protocols, wrappers := "http", "h1 h2", w.lines
	switch p {
	case protocolPlain:
	case protocolTLS:
		l.certify(t)
		c.roots = l.roots
		scheme = "https"
		directives = fmt.Sprintf("tls %s %[1]s\n%s", l.cert, directives)
		wrappers += "\ntls"
	case protocolH2C:
		protocols = "h1 h2c"
	}
	if w.lines != "" {
		protocols += "\nlistener_wrappers {\n" + wrappers + "\n}"
	}
	fmt.Fprintf(&l.global, "servers :%s {\nprotocols %s\n%s\n}\n", port, protocols, l.options)
	fmt.Fprintf(&l.sites, "%s://%s {\n%s\n}\n", scheme, c.addr, directives)
	l.contenders = append(l.contenders, c)
	return c
}

// certify makes a certificate for 127.0.0.1, and a file with it and its key.
func (l *lineup) certify(t testing.TB) {
	t.Helper()
	if l.cert != "" {
		return
	}
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	require.NoError(t, err)
	text := append(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	l.cert = filepath.Join(t.TempDir(), "certificate.pem")
	require.NoError(t, os.WriteFile(l.cert, text, 0o600))
	l.roots = x509.NewCertPool()
	l.roots.AddCert(server.Certificate())
}

// run serves the lineup in this process, spawn in one of its own. With TLS in this
// process a test waits for the load first (capture.loaded), or has the race detector find
// Caddy's own race (see races).
func (l *lineup) run(t testing.TB) *running {
	t.Helper()
	return run(t, l.global.String(), l.sites.String())
}

func (l *lineup) spawn(t testing.TB, wrap ...string) *running {
	t.Helper()
	return spawn(t, l.global.String(), l.sites.String(), wrap...)
}

// dial opens a client's connection, ready for requests. Go has switched Nagle's
// algorithm off on it.
func (c contender) dial(t testing.TB) *conversation {
	t.Helper()
	conn, err := net.Dial("tcp", c.addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	tcp := conn.(*net.TCPConn)
	switch c.protocol {
	case protocolH2C:
		exchange, err := newHTTP2(conn, c.addr)
		require.NoError(t, err)
		return &conversation{tcp, exchange}
	case protocolTLS:
		conn = tls.Client(conn, &tls.Config{RootCAs: c.roots, ServerName: "127.0.0.1"})
	case protocolPlain:
	}
	return &conversation{tcp, newHTTP1(conn, c.addr)}
}

// dialNagle is dial for a client with Nagle's algorithm on.
func (c contender) dialNagle(t testing.TB) *conversation {
	t.Helper()
	client := c.dial(t)
	require.NoError(t, client.tcp.SetNoDelay(false))
	return client
}
