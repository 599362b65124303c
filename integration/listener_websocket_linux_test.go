package integration_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestWebSockets has an upgraded connection carry bytes both ways, and a backend
// with Nagle's algorithm on answer each message in two pieces.
func TestWebSockets(t *testing.T) {
	inprocess.Parallel(t)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		if tcp, ok := socket.TCPConn(conn); ok {
			_ = tcp.SetNoDelay(false)
		}
		send(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for {
			message, err := rw.ReadString('\n')
			if err != nil {
				send(conn, "bye")
				return
			}
			send(conn, message[:3])
			send(conn, message[3:])
		}
	})
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			backend := httptest.NewUnstartedServer(handler)
			defer backend.Close()
			lines := "read_timeout 20s"
			if secure {
				// HTTP/2 would not do: the transport has to ask for less.
				backend.EnableHTTP2 = true
				backend.StartTLS()
				lines = "tls_insecure_skip_verify\ntls_server_name {http.request.host}"
			} else {
				backend.Start()
			}
			_, addrs := forward(t, backend.Listener.Addr().String(), lines, "")
			forEach(t, addrs, func(t *testing.T, addr string) {
				conn, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.SetDeadline(time.Now().Add(lab.Patience)))
				send(conn, "GET / HTTP/1.1\r\nHost: "+addr+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				reader := bufio.NewReader(conn)
				resp, err := http.ReadResponse(reader, nil)
				require.NoError(t, err)
				require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
				nth := 0
				echo := func() {
					nth++
					message := fmt.Sprintf("message %d\n", nth)
					send(conn, message)
					echo, err := reader.ReadString('\n')
					require.NoError(t, err)
					require.Equal(t, message, echo)
				}
				if addr == addrs["http"] {
					requireStall(t, echo)
				} else {
					requireNoStall(t, echo)
				}
				if !secure {
					require.NoError(t, conn.(*net.TCPConn).CloseWrite())
					rest, err := io.ReadAll(reader)
					require.NoError(t, err)
					require.Equal(t, "bye", string(rest))
				}
			})
		})
	}
}
