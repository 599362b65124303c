package integration_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestLiveChange changes options through the admin API. Each change holds for new
// connections, and each connection from before keeps what it has until its
// request is answered.
func TestLiveChange(t *testing.T) {
	c, _ := serve(t, "sockopt\n"+inprocess.Observer)
	conn := connect(t, c)
	untouched := recvBuffer(t, conn.accepted)
	conn.finish(t)

	// What docs/json.md says of what is there and of what is not.
	refused := func(method, path, body string, want int, message string) {
		t.Helper()
		status, answer := c.API(method, path, "application/json", body)
		require.Equal(t, want, status, answer)
		require.Contains(t, answer, message)
	}
	const listenerWrapper = "/config/apps/http/servers/srv0/listener_wrappers/0" // in the admin API
	const path = listenerWrapper + "/recv_buffer"
	refused(http.MethodPatch, path, `65536`, http.StatusNotFound, "key does not exist")
	refused(http.MethodDelete, path, "", http.StatusNotFound, "key does not exist")
	refused(http.MethodPut, listenerWrapper+"/wrapper", `"sockopt"`, http.StatusConflict, "key already exists")
	for _, change := range []struct {
		name               string
		method, path, body string
		want               string // effective, which is twice the value
	}{
		{"named", http.MethodPut, path, `65536`, "131072"},
		{"changed", http.MethodPatch, path, `"96KiB"`, "196608"},
		{"changed by POST", http.MethodPost, path, `"64KiB"`, "131072"},
		{"in a whole wrapper", http.MethodPatch, listenerWrapper, `{"wrapper":"sockopt","recv_buffer":"64KiB"}`, "131072"},
		{"removed", http.MethodDelete, path, "", untouched},
		{"added by POST", http.MethodPost, path, `"64KiB"`, "131072"},
		{"removed again", http.MethodDelete, path, "", untouched},
		{"loaded", http.MethodPost, "/load", c.with("sockopt" + lab.Block("recv_buffer 128KiB") + "\n" + inprocess.Observer), "262144"},
		{"unloaded", http.MethodPost, "/load", c.with(inprocess.Observer), untouched},
	} {
		t.Run(change.name, func(t *testing.T) {
			old := connect(t, c)
			before := recvBuffer(t, old.accepted)
			contentType := "application/json"
			if change.path == "/load" {
				contentType = "text/caddyfile"
			}
			status, answer := c.API(change.method, change.path, contentType, change.body)
			require.Equal(t, http.StatusOK, status, answer)

			conn := connect(t, c)
			require.Equal(t, change.want, recvBuffer(t, conn.accepted))
			conn.finish(t)
			require.Equal(t, before, recvBuffer(t, old.accepted), "of a connection from before")
			old.finish(t)
		})
	}
}

// pending is a connection with a request that Caddy is serving.
type pending struct {
	client   net.Conn
	accepted *net.TCPConn // Caddy's side
	reader   *bufio.Reader
}

// connect begins a request whose body the handler waits for, over a connection
// that the latest configuration accepted: for a moment, the one before it takes
// connections, too, and drops them.
func connect(t *testing.T, s *site) *pending {
	t.Helper()
	for deadline := time.Now().Add(lab.Patience); ; {
		p, err := begin(t, s.addr)
		if err == nil {
			var latest bool
			if p.accepted, latest = inprocess.AcceptedSocket(t, p.client); latest {
				return p
			}
		} else {
			require.True(t, time.Now().Before(deadline), err)
		}
	}
}

// begin sends all of a request but the body, and waits until the handler asks
// for that.
func begin(t *testing.T, addr string) (*pending, error) {
	client, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { client.Close() })
	_, err = fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", addr)
	if err != nil {
		return nil, err
	}
	p := &pending{client: client, reader: bufio.NewReader(client)}
	resp, err := http.ReadResponse(p.reader, nil)
	if err == nil && resp.StatusCode != http.StatusContinue {
		err = errors.New(resp.Status)
	}
	return p, err
}

// finish sends the body and receives the payload.
func (p *pending) finish(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(p.client, "body")
	require.NoError(t, err)
	resp, err := http.ReadResponse(p.reader, nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, lab.Stars, body)
}
