package integration_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestFaultsOfBackendsLeaveNothing sends requests to backends, most of which
// misbehave.
func TestFaultsOfBackendsLeaveNothing(t *testing.T) {
	requests := lab.Long(1_600, 200_000)
	var served atomic.Int64
	response := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(lab.Stars), lab.Stars)
	misbehave := []func(*net.TCPConn){
		resetTCP,
		func(c *net.TCPConn) { send(c, "garbage\r\n\r\n") },
		func(c *net.TCPConn) { send(c, response[:30]) },
		func(c *net.TCPConn) { send(c, response[:5000]) },
		func(c *net.TCPConn) {
			send(c, response[:5000])
			resetTCP(c)
		},
		func(c *net.TCPConn) {
			send(c, response)
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		},
		func(c *net.TCPConn) { send(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n") },
	}
	backend := serveTCP(t, func(conn *net.TCPConn) {
		reader := bufio.NewReader(conn)
		for {
			if _, err := http.ReadRequest(reader); err != nil {
				return
			}
			if n := served.Add(1); n%3 == 0 {
				misbehave[int(n/3)%len(misbehave)](conn)
				return
			}
			send(conn, response)
		}
	})
	site := lab.Address(t)
	inprocess.Run(t, "", fmt.Sprintf("http://%s {\nreverse_proxy %s {\ntransport sockopt {\nread_timeout 10s\nkeepalive 100ms\n}\n}\n}", site, backend))
	rest := atRest()

	const clients = 16
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: lab.Patience}
	var whole, broken, refused atomic.Int64
	var going sync.WaitGroup
	for range clients {
		going.Go(func() {
			for range requests / clients {
				resp, err := client.Get("http://" + site)
				if err != nil {
					broken.Add(1)
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case resp.StatusCode == http.StatusBadGateway:
					refused.Add(1)
				case err != nil:
					broken.Add(1)
				case bytes.Equal(lab.Stars, body):
					whole.Add(1)
				}
			}
		})
	}
	going.Wait()
	client.CloseIdleConnections()
	t.Logf("%d whole, %d broken, %d refused", whole.Load(), broken.Load(), refused.Load())
	require.EqualValues(t, requests, whole.Load()+broken.Load()+refused.Load())
	require.Greater(t, whole.Load(), int64(requests/2))
	require.Greater(t, broken.Load(), int64(requests/20))
	require.Greater(t, refused.Load(), int64(requests/20))
	rest.await(t)
}

// TestFaultBackendDisappears has a backend go away under load, and come back.
func TestFaultBackendDisappears(t *testing.T) {
	addr := lab.Address(t)
	_, addrs := forward(t, addr, "", "")
	start := func() *http.Server {
		ln, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		server := &http.Server{
			Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(lab.Stars) }),
			ReadHeaderTimeout: lab.Patience,
		}
		go func() { _ = server.Serve(ln) }()
		return server
	}
	forEach(t, addrs, func(t *testing.T, addr string) {
		client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: lab.Patience}
		defer client.CloseIdleConnections()
		var statuses [600]atomic.Int64
		var wrong atomic.Value
		ask := func() {
			resp, err := client.Get("http://" + addr)
			if err != nil {
				wrong.Store(err.Error())
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode == http.StatusOK && err == nil && !bytes.Equal(lab.Stars, body) {
				wrong.Store("a wrong payload")
			}
			statuses[resp.StatusCode].Add(1)
		}
		more := func(status int) {
			t.Helper()
			enough := statuses[status].Load() + 100
			require.Eventually(t, func() bool { return statuses[status].Load() >= enough }, lab.Patience, time.Millisecond)
		}
		stopped := make(chan struct{})
		var going sync.WaitGroup
		for range 8 {
			going.Go(func() {
				for {
					select {
					case <-stopped:
						return
					default:
						ask()
					}
				}
			})
		}
		for range lab.Long(1, 100) {
			server := start()
			more(http.StatusOK)
			server.Close()
			more(http.StatusBadGateway)
		}
		close(stopped)
		going.Wait()
		require.Nil(t, wrong.Load())
		for status := range statuses {
			if n := statuses[status].Load(); n > 0 {
				require.Contains(t, []int{http.StatusOK, http.StatusBadGateway}, status)
			}
		}
	})
}
