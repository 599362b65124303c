package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// corkTimer is how long the kernel holds a corked segment back (tcp(7)).
const corkTimer = 200 * time.Millisecond

// TestCork: full segments only, and nothing that somebody waits for is held back: not an
// event, not a 100 Continue, not the request's body, not an upgraded connection, and no
// other request of an HTTP/2 connection.
func TestCork(t *testing.T) {
	const event = "data: event\n\n"
	events, over := make(chan struct{}), make(chan struct{}, 3)
	backend := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush()
			for {
				select {
				case <-events:
				case <-r.Context().Done():
					over <- struct{}{}
					return
				}
				_, _ = io.WriteString(w, event)
				_ = http.NewResponseController(w).Flush()
			}
		case "/upload":
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n)
		case "/upgrade":
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.Copy(conn, rw)
		default:
			_, _ = w.Write(lab.Stars)
		}
	})
	addr := lab.Address(t)
	full, short, twice, certificate := lab.Address(t), lab.Address(t), lab.Address(t), lab.Certify(t)
	c := lab.Spawn(t, "servers {\nprotocols h1 h2c\nlistener_wrappers {\nsockopt\n}\n}\nservers :"+lab.PortOf(twice)+" {\nprotocols h1\n}",
		fmt.Sprintf("http://%s {\nsockopt {\ncork on\n}\nreverse_proxy %s\n}\n", addr, backend)+
			fmt.Sprintf("https://%s {\ntls %s %[2]s\nsockopt {\ncork on\n}\necho_payload\n}\n", full, certificate.File)+
			fmt.Sprintf("https://%s {\ntls %s %[2]s\necho_payload\n}\n", short, certificate.File)+
			fmt.Sprintf("http://%s {\nsockopt {\ncork on\n}\nhandle {\nsockopt {\ncork on\n}\nreverse_proxy %s\n}\n}\n", twice, backend))
	dialTo := func(t *testing.T, addr, request string) (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		require.NoError(t, conn.SetDeadline(time.Now().Add(lab.Patience)))
		_, err = fmt.Fprintf(conn, request, addr)
		require.NoError(t, err)
		return conn, bufio.NewReader(conn)
	}
	dial := func(t *testing.T, request string) (net.Conn, *bufio.Reader) { return dialTo(t, addr, request) }
	// Seven of each are timed: with a cork each takes a timer's time, or several.
	soon := func(t *testing.T, what string, limit time.Duration, f func()) {
		t.Helper()
		var times []time.Duration
		for range 7 {
			begin := time.Now()
			f()
			times = append(times, time.Since(begin))
		}
		t.Logf("%s: median %v", what, lab.Median(times))
		require.Less(t, lab.Median(times), limit, what)
	}

	follow := func(t *testing.T, r io.Reader) {
		soon(t, "an event", corkTimer/10, func() {
			events <- struct{}{}
			got := make([]byte, len(event))
			_, err := io.ReadFull(r, got)
			require.NoError(t, err)
			require.Equal(t, event, string(got))
		})
	}
	t.Run("events", func(t *testing.T) {
		conn, r := dial(t, "GET /events HTTP/1.1\r\nHost: %s\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		follow(t, resp.Body)
		conn.Close()
		<-over // or it takes an event of the next one
	})
	t.Run("events under two corks, without a listener wrapper", func(t *testing.T) {
		conn, r := dialTo(t, twice, "GET /events HTTP/1.1\r\nHost: %s\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		follow(t, resp.Body)
		conn.Close()
		<-over
	})
	// Go writes each TLS record by itself, and the first ones are short.
	t.Run("full segments", func(t *testing.T) {
		_, corked := askWhole(t, full, certificate, false, 1, 99)
		requests, uncorked := askWhole(t, short, certificate, false, 1, 99)
		t.Logf("%d responses over TLS in %d segments with a cork, %d without", requests, corked, uncorked)
		require.Less(t, 3*corked, 2*uncorked)
	})
	t.Run("100 Continue", func(t *testing.T) {
		soon(t, "a request that expects it", corkTimer/10, func() {
			conn, r := dial(t, "POST /upload HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
			resp, err := http.ReadResponse(r, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusContinue, resp.StatusCode)
			_, err = io.WriteString(conn, "body")
			require.NoError(t, err)
			for err == nil && resp.StatusCode == http.StatusContinue { // the proxy forwards the backend's
				resp, err = http.ReadResponse(r, nil)
			}
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, "4", string(body))
		})
	})
	t.Run("upgrade", func(t *testing.T) {
		conn, r := dial(t, "GET /upgrade HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
		soon(t, "an echo", corkTimer/10, func() {
			_, err := io.WriteString(conn, "echo\n")
			require.NoError(t, err)
			line, err := r.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "echo\n", line)
		})
	})
	t.Run("HTTP/2", func(t *testing.T) {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		client := &http.Client{Transport: &http.Transport{Protocols: &protocols}}
		defer client.CloseIdleConnections()
		soon(t, "an upload", 2*corkTimer, func() {
			resp, err := client.Post("http://"+addr+"/upload", "text/plain", bytes.NewReader(make([]byte, 8<<20)))
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(8<<20), string(body))
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/events", nil)
		require.NoError(t, err)
		stream, err := client.Do(req)
		require.NoError(t, err)
		defer stream.Body.Close()
		follow(t, stream.Body)
		soon(t, "a request beside a stream", corkTimer/10, func() { require.NoError(t, lab.Get(t.Context(), client, "http://"+addr)) })
		status, answer := c.API(http.MethodGet, "/sockopt/", "", "")
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, strings.Join(strings.Fields(answer), ""), `"kernel":"TCP_CORK","errno":"HTTP/2"`)
	})
}
