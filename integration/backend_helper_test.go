package integration_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// transports are what is compared: whatever happens to Caddy's own transport
// happens to this one.
var transports = []string{"http", "sockopt"}

// forward runs a Caddy with one site for each of the transports, which forwards
// to the upstreams with further lines in the blocks of the transport and of
// reverse_proxy. It returns their addresses.
func forward(t testing.TB, upstreams, lines, proxyLines string) (c *lab.Running, addrs map[string]string) {
	t.Helper()
	addrs = make(map[string]string)
	var sites strings.Builder
	for _, transport := range transports {
		addrs[transport] = lab.Address(t)
		fmt.Fprintf(&sites, "http://%s {\nreverse_proxy %s {\ntransport %s {\n%s\n}\n%s\n}\n}\n",
			addrs[transport], upstreams, transport, lines, proxyLines)
	}
	return inprocess.Run(t, "", sites.String()), addrs
}

// serveStars returns the address of a backend that serves the payload.
func serveStars(t testing.TB) (addr string) {
	t.Helper()
	return serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(lab.Stars) })
}

// forEach runs a test for each of the transports.
func forEach(t *testing.T, addrs map[string]string, test func(t *testing.T, addr string)) {
	t.Helper()
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) { test(t, addrs[transport]) })
	}
}

func send(conn net.Conn, text string) { _, _ = io.WriteString(conn, text) }

func resetTCP(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

// serveTCP returns the address of a backend that does something with each
// connection, and then closes it.
func serveTCP(t testing.TB, act func(*net.TCPConn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var going sync.WaitGroup
	var open sync.Map
	going.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			open.Store(conn, nil)
			going.Go(func() {
				defer open.Delete(conn)
				defer conn.Close()
				act(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		open.Range(func(conn, _ any) bool {
			_ = conn.(net.Conn).Close()
			return true
		})
		going.Wait()
	})
	return ln.Addr().String()
}
