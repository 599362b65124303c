package integration_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// fault is something that goes wrong at a backend.
type fault struct {
	name   string
	lines  string // of the transport
	method string // default GET

	// act has the backend misbehave on a connection whose request has been read,
	// unless it is deaf. arrived returns when the client has what was sent before.
	act  func(conn *net.TCPConn, arrived func())
	deaf bool

	status int
	body   string
	broken bool // in the middle of the body
}

const (
	wholeHeader = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
	someStars   = "*****"
)

var faults = []fault{
	{name: "is never told a name for TLS", lines: "tls\nversions 1.1\nproxy_protocol v1", act: func(*net.TCPConn, func()) {}, status: 502},
	{name: "stalls in the handshake", lines: "tls\ntls_timeout 100ms\ntls_server_name {http.request.host}", deaf: true, act: func(c *net.TCPConn, _ func()) {
		_, _ = io.Copy(io.Discard, c)
	}, status: 504},
	{name: "sends garbage in the handshake", lines: "tls\ntls_server_name {http.request.host}", deaf: true, act: func(c *net.TCPConn, _ func()) {
		send(c, "this is not TLS\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	}, status: 502},
	{name: "resets in the handshake", lines: "tls\ntls_server_name {http.request.host}", deaf: true, act: func(c *net.TCPConn, _ func()) {
		_, _ = c.Read(make([]byte, 1))
		resetTCP(c)
	}, status: 502},
	{name: "resets", act: func(c *net.TCPConn, _ func()) { resetTCP(c) }, status: 502},
	{name: "resets a POST", method: http.MethodPost, act: func(c *net.TCPConn, _ func()) { resetTCP(c) }, status: 502},
	{name: "closes", act: func(*net.TCPConn, func()) {}, status: 502},
	{name: "half-closes", act: func(c *net.TCPConn, _ func()) {
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}, status: 502},
	{name: "half-closes in the header", act: func(c *net.TCPConn, _ func()) {
		send(c, wholeHeader[:20])
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}, status: 502},
	{name: "half-closes after an endless body", act: func(c *net.TCPConn, _ func()) {
		send(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+someStars)
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}, status: 200, body: someStars},
	{name: "half-closes in the body", act: func(c *net.TCPConn, arrived func()) {
		send(c, wholeHeader+someStars)
		arrived()
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}, status: 200, body: someStars, broken: true},
	{name: "resets in the body", act: func(c *net.TCPConn, arrived func()) {
		send(c, wholeHeader+someStars)
		arrived()
		resetTCP(c)
	}, status: 200, body: someStars, broken: true},
	{name: "sends garbage", act: func(c *net.TCPConn, _ func()) {
		send(c, "\x16\x03\x01 this is not HTTP\r\n\r\n")
	}, status: 502},
	{name: "sends an endless line", lines: "max_response_header 4KiB", act: func(c *net.TCPConn, _ func()) {
		send(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("*", 1<<20))
	}, status: 502},
	{name: "sends a wrong chunk", act: func(c *net.TCPConn, arrived func()) {
		send(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"+someStars+"\r\n")
		arrived()
		send(c, "five\r\n")
	}, status: 200, body: someStars, broken: true},
	{name: "sends too much", act: func(c *net.TCPConn, _ func()) {
		send(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"+someStars+someStars)
	}, status: 200, body: someStars},
	{name: "stalls", lines: "response_header_timeout 100ms", act: func(c *net.TCPConn, _ func()) {
		_, _ = io.Copy(io.Discard, c)
	}, status: 504},
	{name: "stalls longer than a read may", lines: "read_timeout 100ms", act: func(c *net.TCPConn, _ func()) {
		_, _ = io.Copy(io.Discard, c)
	}, status: 504},
	{name: "stalls in the header", lines: "read_timeout 100ms", act: func(c *net.TCPConn, _ func()) {
		send(c, wholeHeader[:20])
		_, _ = io.Copy(io.Discard, c)
	}, status: 502},
	{name: "stalls in the body", lines: "read_timeout 100ms\nwrite_timeout 10s", act: func(c *net.TCPConn, _ func()) {
		send(c, wholeHeader+someStars)
		_, _ = io.Copy(io.Discard, c)
	}, status: 200, body: someStars, broken: true},
}

// TestFaultsOfBackends has backends misbehave towards both transports: clients
// see the same, and the connection is closed.
func TestFaultsOfBackends(t *testing.T) {
	inprocess.Parallel(t)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			arrived := make(chan struct{}, len(transports))
			var open atomic.Int64
			backend := serveTCP(t, func(conn *net.TCPConn) {
				open.Add(1)
				defer open.Add(-1)
				if !f.deaf {
					if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
						return
					}
				}
				f.act(conn, func() {
					select {
					case <-arrived:
					case <-t.Context().Done():
					}
				})
			})
			_, addrs := forward(t, backend, f.lines, "flush_interval -1")
			forEach(t, addrs, func(t *testing.T, addr string) {
				f.meet(t, addr, arrived)
				require.Eventually(t, func() bool { return open.Load() == 0 }, lab.Patience, time.Millisecond)
			})
		})
	}
}

// meet sends a request that meets the fault, and tells when the expected part of
// the body has arrived.
func (f fault) meet(t *testing.T, addr string, arrived chan<- struct{}) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: lab.Patience}
	req, err := http.NewRequestWithContext(t.Context(), f.method, "http://"+addr, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, f.status, resp.StatusCode)
	body := make([]byte, len(f.body))
	_, err = io.ReadFull(resp.Body, body)
	require.NoError(t, err)
	require.Equal(t, f.body, string(body))
	arrived <- struct{}{}
	_, err = resp.Body.Read(make([]byte, 1))
	if f.broken {
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	} else {
		require.ErrorIs(t, err, io.EOF)
	}
}
