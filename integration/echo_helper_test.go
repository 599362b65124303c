package integration_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// echo serves a site with these lines and returns its address.
func echo(t testing.TB, lines string) (addr string, c *lab.Running) {
	t.Helper()
	addr = lab.Address(t)
	return addr, inprocess.Run(t, "", "http://"+addr+" {\n"+lines+"\n}")
}

// lineClient is an HTTP/1 client that sends given lines.
type lineClient struct {
	*net.TCPConn
	t testing.TB
	r *bufio.Reader
}

func dialLine(t testing.TB, addr string) *lineClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(lab.Patience)))
	return &lineClient{conn.(*net.TCPConn), t, bufio.NewReader(conn)}
}

func (c *lineClient) send(text string) {
	c.t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(c.t, err)
}

// receive reads a response to a request of this method, and its body.
func (c *lineClient) receive(method string) (resp *http.Response, body string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	require.NoError(c.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return resp, string(text)
}

// requirePayload reads a response with the payload that a bare echo_payload gives.
func (c *lineClient) requirePayload() *http.Response {
	c.t.Helper()
	resp, body := c.receive(http.MethodGet)
	require.Equal(c.t, http.StatusOK, resp.StatusCode)
	require.EqualValues(c.t, 10_000, resp.ContentLength)
	requireStars(c.t, 10_000, body)
	return resp
}

// requireStars is require.Equal for a payload, without printing it.
func requireStars[T string | []byte](t testing.TB, want int, payload T) {
	t.Helper()
	require.Equal(t, want, len(payload), "bytes of payload") //nolint:testifylint // Len would print them
	require.Empty(t, strings.Trim(string(payload), "*"), "what is no * in the payload")
}

// requireEnd reads the end of the connection.
func (c *lineClient) requireEnd() {
	c.t.Helper()
	_, err := c.r.ReadByte()
	require.ErrorIs(c.t, err, io.EOF)
}
