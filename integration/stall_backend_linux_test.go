package integration_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestTLSBackendThatSendsTickets proxies to a TLS backend with Nagle's algorithm on, over
// a new connection for each request. Its response waits until Caddy has acknowledged the
// tickets.
func TestTLSBackendThatSendsTickets(t *testing.T) {
	inprocess.Parallel(t) // it waits most of the time
	addr := lab.Address(t)
	command := lab.TicketServerCommand(addr, lab.Certify(t).File)
	lab.Serve(t, addr, command[0], command[1:]...)
	requireBackend(t, "https://"+addr, requireWait)
}

// TestTLSBackendInPieces proxies to a TLS backend with Nagle's algorithm on whose part of
// the handshake comes record by record. It waits in neither transport: a kernel
// acknowledges the first segments of the connections that it dials at once.
func TestTLSBackendInPieces(t *testing.T) {
	inprocess.Parallel(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(lab.Stars) }))
	server.Listener = inRecords{server.Listener}
	certificate := lab.Certify(t)
	pair, err := tls.LoadX509KeyPair(certificate.File, certificate.File)
	require.NoError(t, err)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	requireBackend(t, server.URL, requireNoTimer)
}

// requireBackend proxies to a backend over new connections. Transport sockopt does not
// wait for a timer; what transport http does is for the caller to say.
func requireBackend(t *testing.T, upstream string, stock func(testing.TB, func() time.Duration)) {
	t.Helper()
	_, addrs := forward(t, upstream, "tls_insecure_skip_verify\nkeepalive off", "")
	forEach(t, addrs, func(t *testing.T, addr string) {
		ask := timed(func() { require.NoError(t, lab.Get(t.Context(), http.DefaultClient, "http://"+addr)) })
		if addr == addrs["http"] {
			stock(t, ask)
		} else {
			requireNoTimer(t, ask)
		}
	})
}

// requireNoTimer is for what does a handshake of TLS, too, which takes a busy machine
// some milliseconds.
func requireNoTimer(t testing.TB, measure func() time.Duration) {
	t.Helper()
	requireWithin(t, 30*time.Millisecond, measure)
}

// inRecords accepts connections with Nagle's algorithm on that send each record of TLS
// in a write of its own.
type inRecords struct{ net.Listener }

func (l inRecords) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return records{conn}, conn.(*net.TCPConn).SetNoDelay(false)
}
