package integration_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

func TestUnixBackendIsUntouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	ln, err := net.Listen("unix", path)
	require.NoError(t, err)
	protocols := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols <- r.Proto
		_, _ = w.Write(lab.Stars)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Listener.Close()
	server.Listener = ln
	server.Start()
	defer server.Close()

	for network, protocol := range map[string]string{"unix/": "HTTP/1.1", "unix+h2c/": "HTTP/2.0"} {
		t.Run(network, func(t *testing.T) {
			c, addrs := forward(t, network+path, "read_timeout 5s", "")
			forEach(t, addrs, func(t *testing.T, addr string) {
				require.NoError(t, lab.Get(t.Context(), http.DefaultClient, "http://"+addr))
				require.Equal(t, protocol, <-protocols)
			})
			shown := transportInUse(t, c)
			require.Zero(t, shown.Counters.Connections)
			require.Zero(t, shown.Counters.Unreachable)
			require.Empty(t, c.Warnings())
		})
	}
}

func TestStreaming(t *testing.T) {
	pieces := make(chan string)
	backend := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		for piece := range pieces {
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
			if piece == "last" {
				return
			}
		}
	})
	_, addrs := forward(t, backend, "", "flush_interval -1")
	forEach(t, addrs, func(t *testing.T, addr string) {
		var resp *http.Response
		for _, piece := range []string{"first", "second", "third", "last"} {
			// Each piece has come when the next one is made.
			sent := make(chan struct{})
			go func() {
				pieces <- piece
				close(sent)
			}()
			if resp == nil {
				var err error
				resp, err = http.Get("http://" + addr)
				require.NoError(t, err)
				defer resp.Body.Close()
			}
			buf := make([]byte, len(piece))
			_, err := io.ReadFull(resp.Body, buf)
			require.NoError(t, err)
			require.Equal(t, piece, string(buf))
			<-sent
		}
		_, err := resp.Body.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestHealthChecks(t *testing.T) {
	var healthy, checks atomic.Int64
	backend := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			checks.Add(1)
			if healthy.Load() == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		_, _ = w.Write(lab.Stars)
	})
	_, addrs := forward(t, backend, "", "health_uri /health\nhealth_interval 10ms\nhealth_timeout 5s")
	becomes := func(t *testing.T, addr string, status int) {
		t.Helper()
		require.Eventually(t, func() bool {
			resp, err := http.Get("http://" + addr)
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode == status
		}, lab.Patience, time.Millisecond)
	}
	for _, up := range []int64{0, 1, 0, 1} {
		healthy.Store(up)
		forEach(t, addrs, func(t *testing.T, addr string) {
			becomes(t, addr, map[int64]int{0: http.StatusServiceUnavailable, 1: http.StatusOK}[up])
		})
	}
	require.Positive(t, checks.Load())
}

func TestRetriesAfterDialErrors(t *testing.T) {
	dead := lab.Address(t)
	_, addrs := forward(t, dead+" "+serveStars(t), "dial_timeout 5s", "lb_policy round_robin\nlb_try_duration 30s\nlb_try_interval 1ms")
	forEach(t, addrs, func(t *testing.T, addr string) {
		for range 10 {
			require.NoError(t, lab.Get(t.Context(), http.DefaultClient, "http://"+addr))
		}
	})
}

// A backend that closes idle connections costs no request.
func TestBackendClosesIdleConnections(t *testing.T) {
	var closed atomic.Int64
	backend := serveTCP(t, func(conn *net.TCPConn) {
		defer closed.Add(1)
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			send(conn, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(lab.Stars), lab.Stars))
		}
	})
	_, addrs := forward(t, backend, "", "")
	forEach(t, addrs, func(t *testing.T, addr string) {
		for range 100 {
			require.NoError(t, lab.Get(t.Context(), http.DefaultClient, "http://"+addr))
		}
	})
}
