package lab

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Client asks for the payload over one connection, request after request, and waits for
// each response.
type Client struct {
	TCP *net.TCPConn
	Exchange
}

// Exchange is a client's side of a protocol.
type Exchange interface {
	// Send sends a GET request in one write.
	Send() error

	// SendInPieces sends a POST request in three writes. Over HTTP/1.1 they are the
	// request line, the rest of the header, and the body; over HTTP/2 the HEADERS, a
	// CONTINUATION, and the DATA.
	SendInPieces() error

	// Receive reads a response, whose status must be 200, and returns its body, which
	// lasts until the next call.
	Receive() ([]byte, error)
}

// Do sends a request with one of the client's methods and checks the response.
func (c *Client) Do(send func() error) error {
	if err := c.TCP.SetDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	if err := send(); err != nil {
		return err
	}
	body, err := c.Receive()
	if err == nil && !bytes.Equal(Stars, body) {
		err = fmt.Errorf("not the payload: %.100q", body)
	}
	return err
}

// Ask is Do for a test.
func (c *Client) Ask(t testing.TB, send func() error) {
	t.Helper()
	require.NoError(t, c.Do(send))
}

// Times sends requests and returns how long each took, without the first warmUp of them.
func (c *Client) Times(t testing.TB, send func() error, warmUp, requests int) []time.Duration {
	t.Helper()
	times := make([]time.Duration, 0, requests)
	for i := range warmUp + requests {
		begin := time.Now()
		c.Ask(t, send)
		if i >= warmUp {
			times = append(times, time.Since(begin))
		}
	}
	return times
}

// HTTP1 speaks HTTP/1.1.
type HTTP1 struct {
	conn   io.Writer
	reader *bufio.Reader
	get    string
	post   [3]string
	body   bytes.Buffer
}

// NewHTTP1 returns a client's side of HTTP/1.1.
func NewHTTP1(conn net.Conn, host string) *HTTP1 {
	return &HTTP1{
		conn:   conn,
		reader: bufio.NewReader(conn),
		get:    fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host),
		post: [3]string{
			"POST / HTTP/1.1\r\n",
			fmt.Sprintf("Host: %s\r\nContent-Length: 4\r\n\r\n", host),
			"body",
		},
	}
}

// Send implements Exchange.
func (h *HTTP1) Send() error {
	_, err := io.WriteString(h.conn, h.get)
	return err
}

// SendInPieces implements Exchange.
func (h *HTTP1) SendInPieces() error {
	for _, piece := range h.post {
		if _, err := io.WriteString(h.conn, piece); err != nil {
			return err
		}
	}
	return nil
}

// Receive implements Exchange.
func (h *HTTP1) Receive() ([]byte, error) {
	resp, err := http.ReadResponse(h.reader, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	h.body.Reset()
	_, err = h.body.ReadFrom(resp.Body)
	return h.body.Bytes(), err
}

// Get fetches the payload.
func Get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && !bytes.Equal(Stars, body) {
		return fmt.Errorf("status %s, body: %.100q", resp.Status, body)
	}
	return err
}
