package integration_test

import (
	"bufio"
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

// TestFaultDescriptors fills Caddy's descriptors. Meanwhile the clients that it has
// accepted are served, and a configuration is refused with the reason; when
// descriptors come back, so does everything else, by itself.
func TestFaultDescriptors(t *testing.T) {
	t.Parallel()
	const limit, count = 128, 160
	e := expose(t, ordeal{clients: count, longer: count, options: []string{"on_unsupported warn"}}, "sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, limit))
	load := func(admin net.Conn, generation int) (status int, answer string) {
		global, sites := e.config(generation)
		body := e.Caddyfile(global, sites)
		_, err := fmt.Fprintf(admin, "POST /load HTTP/1.1\r\nHost: %s\r\nContent-Type: text/caddyfile\r\nContent-Length: %d\r\n\r\n%s",
			e.Admin, len(body), body)
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(admin), nil)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(text)
	}

	_, port, err := net.SplitHostPort(e.addr)
	require.NoError(t, err)
	refusals := func() int { return strings.Count(e.Logged(), port+": accept4: too many open files") }

	for round := range lab.Long(1, 50) {
		admin, err := net.Dial("tcp", e.Admin)
		require.NoError(t, err)
		defer admin.Close()
		status, answer := load(admin, round) // the same as is running: the connection has a descriptor
		require.Equal(t, http.StatusOK, status, answer)
		before := refusals()
		clients := make([]*net.TCPConn, count)
		for i := range clients {
			clients[i], err = e.dial()
			require.NoError(t, err)
			defer clients[i].Close()
		}
		require.NoError(t, lab.Eventually("Caddy to run out of descriptors", func() (bool, error) { return refusals() > before, nil }))

		accepted := bufio.NewReader(clients[0])
		require.NoError(t, fetch(clients[0], accepted, request))
		proxied := func() (status int) {
			_, err := io.WriteString(clients[0], "GET /proxied HTTP/1.1\r\n"+requestRest)
			require.NoError(t, err)
			resp, err := http.ReadResponse(accepted, nil)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			return resp.StatusCode
		}
		// What Caddy did before may still give a descriptor back, which a connection to
		// the backend then holds on to for the transport's keepalive after each request.
		for deadline := time.Now().Add(lab.Patience); proxied() != http.StatusBadGateway; time.Sleep(2 * keepalive) {
			require.True(t, time.Now().Before(deadline), "there is always a descriptor for the backend")
		}
		status, answer = load(admin, round+1)
		require.Equal(t, http.StatusBadRequest, status, answer)
		require.Contains(t, answer, "too many open files")
		require.NoError(t, fetch(clients[0], accepted, request))

		for _, client := range clients[1 : limit/2] {
			client.Close()
		}
		for _, client := range clients[limit/2:] {
			require.NoError(t, fetch(client, bufio.NewReader(client), request))
		}
		require.NoError(t, fetch(clients[0], accepted, "GET /proxied HTTP/1.1\r\n"+requestRest))
		status, answer = load(admin, round+1)
		require.Equal(t, http.StatusOK, status, answer)
		for _, client := range clients {
			client.Close()
		}
		admin.Close()
		// A listener that is still to close resets the next round's connections.
		e.awaitClosed(t)
		awaitHeld(t, e.Running, e.before)
	}
	e.requireRest(t)
}
