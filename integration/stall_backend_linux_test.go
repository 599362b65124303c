package integration_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
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
	requireBackend(t, "https://"+addr, requireWait, requireNoWait)
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
	inTime := func(t testing.TB, measure func() time.Duration) {
		require.Less(t, slices.Min(batchOf(measure)), 30*time.Millisecond, "a timer delays all of them")
	}
	requireBackend(t, server.URL, inTime, inTime)
}

// requireBackend proxies to a backend over new connections, and holds the times of both
// transports to something.
func requireBackend(t *testing.T, upstream string, stock, sockopt func(testing.TB, func() time.Duration)) {
	t.Helper()
	_, addrs := forward(t, upstream, "tls_insecure_skip_verify\nkeepalive off", "")
	forEach(t, addrs, func(t *testing.T, addr string) {
		ask := timed(func() { require.NoError(t, lab.Get(t.Context(), http.DefaultClient, "http://"+addr)) })
		if addr == addrs["http"] {
			stock(t, ask)
		} else {
			sockopt(t, ask)
		}
	})
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
