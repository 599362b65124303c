package lab

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Wrapping is the listener wrappers of a server, without tls.
type Wrapping struct {
	Name  string // as the tables show it
	Lines string // in the Caddyfile
}

// Wrappings that many tests compare.
var (
	Stock   = Wrapping{Name: "stock"}
	Auto    = Wrapping{"auto", "sockopt"}
	On      = Wrapping{"on", "sockopt {\nquickack on\n}"}
	Off     = Wrapping{"off", "sockopt {\nquickack off\n}"}
	NagleOn = Wrapping{"nodelay off", "sockopt {\nnodelay off\n}"}
)

// Protocol is what a server speaks to its clients.
type Protocol string

// The protocols of Sites.Add.
const (
	Plain Protocol = "plain" // HTTP/1.1
	TLS   Protocol = "TLS"   // HTTP/1.1
	H2C   Protocol = "h2c"   // HTTP/2 with prior knowledge
)

// Protocols are all of them.
var Protocols = []Protocol{Plain, TLS, H2C}

// Site is one of the sites that a test compares, at a port of its own.
type Site struct {
	Wrapping
	Protocol
	Addr  string
	From  net.Addr       // of clients, nil for any
	Roots *x509.CertPool // what a client trusts
}

// Sites are the sites that a test compares, and the Caddyfile for them.
type Sites struct {
	All         []Site
	Options     string // of every server
	Certificate *Certificate

	global, sites strings.Builder
}

// Add adds a site with these directives.
func (s *Sites) Add(t testing.TB, w Wrapping, p Protocol, directives string) Site {
	t.Helper()
	site := Site{Wrapping: w, Protocol: p, Addr: Address(t)}
	scheme, protocols, wrappers := "http", "h1 h2", w.Lines
	switch p {
	case Plain:
	case TLS:
		s.Certify(t)
		site.Roots = s.Certificate.Roots
		scheme = "https"
		directives = fmt.Sprintf("tls %s %[1]s\n%s", s.Certificate.File, directives)
		wrappers += "\ntls"
	case H2C:
		protocols = "h1 h2c"
	}
	if w.Lines != "" {
		protocols += "\nlistener_wrappers {\n" + wrappers + "\n}"
	}
	fmt.Fprintf(&s.global, "servers :%s {\nprotocols %s\n%s\n}\n", PortOf(site.Addr), protocols, s.Options)
	fmt.Fprintf(&s.sites, "%s://%s {\n%s\n}\n", scheme, site.Addr, directives)
	s.All = append(s.All, site)
	return site
}

// Certify makes the certificate of the sites that speak TLS.
func (s *Sites) Certify(t testing.TB) {
	t.Helper()
	if s.Certificate == nil {
		s.Certificate = Certify(t)
	}
}

// Caddyfile returns the global options and the sites.
func (s *Sites) Caddyfile() (global, sites string) { return s.global.String(), s.sites.String() }

// Spawn serves the sites in a process of its own.
func (s *Sites) Spawn(t testing.TB, wrap ...string) *Running {
	t.Helper()
	global, sites := s.Caddyfile()
	return Spawn(t, global, sites, wrap...)
}

// URL returns the site's URL.
func (s Site) URL() string {
	if s.Protocol == TLS {
		return "https://" + s.Addr + "/"
	}
	return "http://" + s.Addr + "/"
}

// Dial opens a client's connection, ready for requests. Go has switched Nagle's
// algorithm off on it.
func (s Site) Dial(t testing.TB) *Client {
	t.Helper()
	dialer := net.Dialer{LocalAddr: s.From}
	conn, err := dialer.Dial("tcp", s.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	tcp := conn.(*net.TCPConn)
	switch s.Protocol {
	case H2C:
		exchange, err := NewHTTP2(conn, s.Addr)
		require.NoError(t, err)
		return &Client{tcp, exchange}
	case TLS:
		conn = tls.Client(conn, &tls.Config{RootCAs: s.Roots, ServerName: Loopback, MinVersion: tls.VersionTLS12})
	case Plain:
	}
	return &Client{tcp, NewHTTP1(conn, s.Addr)}
}

// DialNagle is Dial for a client with Nagle's algorithm on.
func (s Site) DialNagle(t testing.TB) *Client {
	t.Helper()
	client := s.Dial(t)
	require.NoError(t, client.TCP.SetNoDelay(false))
	return client
}

// AskInTurn sends a hundred requests over each of its connections in turn, so that each
// connection has long parked before its next request. It returns the clients.
func (s Site) AskInTurn(t testing.TB, requests int) []*Client {
	t.Helper()
	clients := make([]*Client, requests/100)
	for i := range clients {
		clients[i] = s.Dial(t)
	}
	for i := range requests {
		client := clients[i%len(clients)]
		client.Ask(t, client.Send)
	}
	return clients
}
