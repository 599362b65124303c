package sockopt

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// stars is the payload: what the echo handler answers with.
var stars = bytes.Repeat([]byte("*"), 10_000)

// conversation is a client that asks for the payload over one connection, request
// after request, and waits for each response.
type conversation struct {
	tcp *net.TCPConn
	exchange
}

// exchange is a client's side of a protocol.
type exchange interface {
	// send sends a GET request in one write.
	send() error

	// sendInPieces sends a POST request in three writes: the request line, the
	// rest of the header, the body; or what comes next to it in the protocol.
	sendInPieces() error

	// receive reads a response, whose status must be 200, and returns its body,
	// which lasts until the next call.
	receive() ([]byte, error)
}

// ask sends a request with one of the client's methods and checks the response.
func (c *conversation) ask(t testing.TB, send func() error) {
	t.Helper()
	require.NoError(t, c.tcp.SetDeadline(time.Now().Add(patience)))
	require.NoError(t, send())
	body, err := c.receive()
	require.NoError(t, err)
	require.True(t, bytes.Equal(stars, body), "body: %.100q", body)
}

// http1 speaks HTTP/1.1.
type http1 struct {
	conn   io.Writer
	reader *bufio.Reader
	get    string
	post   [3]string
	body   bytes.Buffer
}

func newHTTP1(conn net.Conn, host string) *http1 {
	return &http1{
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

func (h *http1) send() error {
	_, err := io.WriteString(h.conn, h.get)
	return err
}

func (h *http1) sendInPieces() error {
	for _, piece := range h.post {
		if _, err := io.WriteString(h.conn, piece); err != nil {
			return err
		}
	}
	return nil
}

func (h *http1) receive() ([]byte, error) {
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

// http2Frames speaks HTTP/2 with prior knowledge, each frame in a write of its own.
type http2Frames struct {
	framer  *http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer // what encoder wrote
	host    string
	stream  uint32 // of the last request
	body    bytes.Buffer
}

// ampleWindow lets the server send without ever waiting for a WINDOW_UPDATE, which
// would be one more write and one more segment.
const ampleWindow = 1 << 30

func newHTTP2(conn net.Conn, host string) (*http2Frames, error) {
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	h := &http2Frames{framer: http2.NewFramer(conn, bufio.NewReader(conn)), host: host}
	h.encoder = hpack.NewEncoder(&h.block)
	h.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	err := h.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: ampleWindow})
	if err != nil {
		return nil, err
	}
	return h, h.framer.WriteWindowUpdate(0, ampleWindow)
}

func (h *http2Frames) send() error {
	block, err := h.header(http.MethodGet)
	if err != nil {
		return err
	}
	return h.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: h.stream, BlockFragment: block, EndStream: true, EndHeaders: true,
	})
}

func (h *http2Frames) sendInPieces() error {
	block, err := h.header(http.MethodPost)
	if err != nil {
		return err
	}
	half := len(block) / 2
	err = h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: h.stream, BlockFragment: block[:half]})
	if err != nil {
		return err
	}
	if err := h.framer.WriteContinuation(h.stream, true, block[half:]); err != nil {
		return err
	}
	return h.framer.WriteData(h.stream, true, []byte("body"))
}

// header returns the header block of a request, for which it opens the next of
// the client's streams: 1, 3, 5, …
func (h *http2Frames) header(method string) ([]byte, error) {
	h.stream += 1 + h.stream%2
	h.block.Reset()
	for _, field := range []hpack.HeaderField{
		{Name: ":method", Value: method},
		{Name: ":scheme", Value: "http"},
		{Name: ":authority", Value: h.host},
		{Name: ":path", Value: "/"},
	} {
		if err := h.encoder.WriteField(field); err != nil {
			return nil, err
		}
	}
	return h.block.Bytes(), nil
}

func (h *http2Frames) receive() ([]byte, error) {
	h.body.Reset()
	for {
		frame, err := h.framer.ReadFrame()
		if err != nil {
			return nil, err
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = h.framer.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			if status := f.PseudoValue("status"); status != "200" {
				err = fmt.Errorf("status %s", status)
			}
		case *http2.DataFrame:
			h.body.Write(f.Data())
			if f.StreamEnded() {
				return h.body.Bytes(), nil
			}
		case *http2.WindowUpdateFrame:
		default:
			err = fmt.Errorf("unexpected frame %v", f)
		}
		if err != nil {
			return nil, err
		}
	}
}
