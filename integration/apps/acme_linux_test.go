package apps_test

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// authority is Pebble, a certificate authority for tests, which checks challenges at
// 127.0.0.1.
type authority struct {
	url, roots  string // its directory, and a file with the certificate of its own server
	http, https int    // where it checks challenges
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	quiet := log.New(io.Discard, "", 0)
	dns := lab.Address(t)
	names, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{dns}, Log: quiet})
	require.NoError(t, err)
	names.SetDefaultDNSIPv4(lab.Loopback)
	names.SetDefaultDNSIPv6("")
	go names.Run()
	t.Cleanup(names.Shutdown)

	a := authority{http: lab.Port(t), https: lab.Port(t), roots: filepath.Join(t.TempDir(), "roots.pem")}
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	checks := va.New(quiet, a.http, a.https, false, dns, store)
	front := wfe.New(quiet, store, checks, issuer, []string{"pebble.example"}, false, false, 0, 0)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	a.url = server.URL + wfe.DirectoryPath
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(a.roots, text, 0o600))
	return a
}

// serve runs a site whose certificate is to come by one challenge.
func (a authority) serve(t *testing.T, disabled string, bind string) *lab.Running {
	t.Helper()
	global := fmt.Sprintf("http_port %d\nhttps_port %d", a.http, a.https)
	return lab.Spawn(t, global, fmt.Sprintf(`site.example {
	bind %s
	respond "hello"
	tls {
		issuer acme {
			dir %s
			trusted_roots %s
			disable_%s_challenge
		}
	}
}
http://site.example {
	bind %[1]s
}`, bind, a.url, a.roots, disabled))
}

// issued reports whether the site has a certificate.
func (a authority) issued() bool {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Second}, Config: &tls.Config{ServerName: "site.example", InsecureSkipVerify: true}} //nolint:gosec // of a test authority
	conn, err := dialer.Dial("tcp", net.JoinHostPort(lab.Loopback, strconv.Itoa(a.https)))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// TestChallenges: with an ordinary address before one of a network, certificates come by
// either challenge, which arrives at the network. Without it the load warns.
func TestChallenges(t *testing.T) {
	const warning = "no certificates for sites here by the challenges of ACME that connect to Caddy"
	for _, network := range []string{"interface/lo", "freebind/127.0.0.1", "transparent/127.0.0.1", "sockopt/127.0.0.1"} {
		for _, disabled := range []string{"http", "tlsalpn"} {
			t.Run(network+" without "+disabled, func(t *testing.T) {
				a := newAuthority(t)
				c := a.serve(t, disabled, "127.0.0.2 "+network)
				require.Eventually(t, a.issued, lab.Patience, 50*time.Millisecond)
				require.NotContains(t, c.Logged(), warning)
			})
		}
		t.Run(network+" alone", func(t *testing.T) {
			a := newAuthority(t)
			c := a.serve(t, "tlsalpn", network)
			require.Contains(t, c.Logged(), warning)
			require.Eventually(t, func() bool {
				return strings.Contains(c.Logged(), "could not start listener for challenge server")
			}, lab.Patience, 50*time.Millisecond)
			require.False(t, a.issued())
		})
	}
}
