package lab

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// HTTP2 speaks HTTP/2 with prior knowledge, each frame in a write of its own.
type HTTP2 struct {
	framer  *http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer // what encoder wrote
	host    string
	stream  uint32          // of the last request
	open    map[uint32]bool // streams whose response is still to come
	body    bytes.Buffer
}

// ampleWindow lets the server send without ever waiting for a WINDOW_UPDATE, which
// would be one more write and one more segment.
const ampleWindow = 1 << 30

// NewHTTP2 returns a client's side of HTTP/2, whose preface it has sent.
func NewHTTP2(conn net.Conn, host string) (*HTTP2, error) {
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	h := &HTTP2{framer: http2.NewFramer(conn, bufio.NewReader(conn)), host: host, open: make(map[uint32]bool)}
	h.encoder = hpack.NewEncoder(&h.block)
	h.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	err := h.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: ampleWindow})
	if err != nil {
		return nil, err
	}
	return h, h.framer.WriteWindowUpdate(0, ampleWindow)
}

// Send implements Exchange.
func (h *HTTP2) Send() error {
	block, err := h.header(http.MethodGet)
	if err != nil {
		return err
	}
	return h.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: h.stream, BlockFragment: block, EndStream: true, EndHeaders: true,
	})
}

// SendInPieces implements Exchange.
func (h *HTTP2) SendInPieces() error {
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

// header returns the header block of a request, for which it opens the next of the
// client's streams: 1, 3, 5, …
func (h *HTTP2) header(method string) ([]byte, error) {
	h.stream += 1 + h.stream%2
	h.open[h.stream] = true
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

// Receive implements Exchange.
func (h *HTTP2) Receive() ([]byte, error) {
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
				delete(h.open, f.StreamID)
				return h.body.Bytes(), nil
			}
		case *http2.RSTStreamFrame:
			// Caddy's write_idle_timeout fires for some streams a minute after their end.
			if h.open[f.StreamID] || f.StreamID > h.stream {
				err = fmt.Errorf("stream %d was reset: %v", f.StreamID, f.ErrCode)
			}
		case *http2.GoAwayFrame:
			err = fmt.Errorf("the server says GOAWAY: %v: %s", f.ErrCode, f.DebugData())
		case *http2.WindowUpdateFrame:
		default:
			err = fmt.Errorf("unexpected frame %v", f)
		}
		if err != nil {
			return nil, err
		}
	}
}
