package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// http2Conn is a connection of HTTP/2. It writes its frames itself, because the
// experiments differ in which of them share a write.
type http2Conn struct {
	*wire
	framer  *http2.Framer
	frames  bytes.Buffer // what the framer has written and the connection has not
	encoder *hpack.Encoder
	fields  bytes.Buffer // what the encoder has written

	streams    map[uint32]*stream // those without a whole response
	next       uint32             // stream ID
	maxStreams int                // what the server allows, like the next two
	window     int                // of the connection
	initial    int                // window of a new stream
	unread     int                // bytes that the server was not given back yet
	settled    bool               // the server's settings have come
	leaving    bool               // the server accepts no more streams
	ended      func()             // called after each response
}

type stream struct {
	window   int // what the server allows
	body     int // bytes of the response
	answered bool
}

const (
	firstWindow  = 65_535 // RFC 9113, section 6.9.2
	frameHeader  = 9
	ourWindow    = math.MaxInt32 // of each stream
	returnWindow = 1 << 30       // of the connection, when as much has been read
)

// newHTTP2 sends the preface and waits for the server's settings. Where it is at once, the
// preface leaves with the first request, as it does with most clients.
func newHTTP2(w *wire, atOnce bool) (*http2Conn, error) {
	h := &http2Conn{
		wire: w, streams: make(map[uint32]*stream), next: 1, maxStreams: math.MaxInt32, window: firstWindow, initial: firstWindow,
	}
	h.framer = http2.NewFramer(&h.frames, w.Conn)
	h.framer.SetReuseFrames()
	h.framer.SetMaxReadFrameSize(blockSize)
	h.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.framer.MaxHeaderListSize = mostHeader
	h.encoder = hpack.NewEncoder(&h.fields)
	h.limit()
	h.frames.WriteString(http2.ClientPreface)
	_ = h.framer.WriteSettings( // to a buffer, as all that the framer writes
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: ourWindow},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: mostHeader},
	)
	_ = h.framer.WriteWindowUpdate(0, returnWindow)
	if atOnce {
		return h, nil
	}
	if err := h.flush(); err != nil {
		return nil, err
	}
	err := h.read()
	if err == nil && !h.settled {
		err = errors.New("its first frame has no settings")
	}
	if err != nil && isClosed(err) {
		err = fmt.Errorf("%w/2 with prior knowledge: %w", errHTTP, err)
	}
	return h, err
}

// flush writes the frames in one write, or in several that end at the cuts.
func (h *http2Conn) flush(cuts ...int) error {
	begin := 0
	for _, end := range append(cuts, h.frames.Len()) {
		if _, err := h.Write(h.frames.Next(end - begin)); err != nil {
			return err
		}
		begin = end
	}
	return nil
}

func (h *http2Conn) ask(requests int, pieces bool, answered func()) (closes bool, err error) {
	h.limit()
	h.ended = answered
	for sent := 0; err == nil && (sent < requests || len(h.streams) > 0); {
		switch {
		case sent == requests || len(h.streams) >= max(h.maxStreams, 1):
			err = h.read()
		case h.leaving:
			err = errCloses
		default:
			err = h.send(pieces)
			sent++
		}
	}
	return h.leaving, err
}

// send writes a request. Its pieces are HEADERS, the header of DATA and the payload
// of DATA; without a body they are the header of HEADERS and the halves of its payload.
func (h *http2Conn) send(pieces bool) (err error) {
	c, id := h.client, h.next
	h.next += 2
	s := &stream{window: h.initial}
	h.streams[id] = s
	h.encode()
	if h.fields.Len() > blockSize {
		return fmt.Errorf("the header of the request has more than the %d bytes of a frame", blockSize)
	}
	_ = h.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: h.fields.Bytes(), EndHeaders: true, EndStream: c.BodySize == 0,
	})
	headers := h.frames.Len()
	cuts := []int{frameHeader, frameHeader + (headers-frameHeader)/2}
	left := c.BodySize
	if left > 0 {
		left -= h.data(id, s, left)
		cuts = []int{headers, min(headers+frameHeader, h.frames.Len())}
	}
	if !pieces {
		cuts = nil
	}
	err = h.flush(cuts...)
	for err == nil && left > 0 && h.streams[id] != nil {
		if n := h.data(id, s, left); n > 0 {
			left -= n
			err = h.flush()
		} else {
			err = h.read() // until the server allows more
		}
	}
	if err == nil && left > 0 { // the server has answered before it had the whole request
		_ = h.framer.WriteRSTStream(id, http2.ErrCodeCancel)
		err = h.flush()
	}
	return err
}

// data adds a DATA frame with as much as is left and allowed, if any is.
func (h *http2Conn) data(id uint32, s *stream, left int) (n int) {
	n = min(left, len(h.client.block), h.window, s.window)
	if n <= 0 {
		return 0
	}
	h.window -= n
	s.window -= n
	_ = h.framer.WriteData(id, n == left, h.client.block[:n])
	return n
}

// encode encodes the request's header.
func (h *http2Conn) encode() {
	c := h.client
	h.fields.Reset()
	field := func(name, value string) { _ = h.encoder.WriteField(hpack.HeaderField{Name: name, Value: value}) }
	field(":method", c.Method)
	field(":scheme", c.target.Scheme)
	field(":authority", c.host)
	field(":path", c.target.RequestURI())
	for name, values := range c.fields {
		for _, value := range values {
			field(strings.ToLower(name), value)
		}
	}
}

// read handles a frame.
func (h *http2Conn) read() error {
	frame, err := h.framer.ReadFrame()
	if err != nil {
		return err
	}
	id, flags := frame.Header().StreamID, frame.Header().Flags
	s := h.streams[id]
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			h.settle(f)
			_ = h.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = h.framer.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if id == 0 {
			h.window += int(f.Increment)
		} else if s != nil {
			s.window += int(f.Increment)
		}
	case *http2.GoAwayFrame:
		h.leaving = true
		for id := range h.streams {
			if id > f.LastStreamID {
				return fmt.Errorf("the server ends the connection (%v): %w", f.ErrCode, io.EOF)
			}
		}
	case *http2.RSTStreamFrame:
		if s != nil && !s.answered {
			return fmt.Errorf("%w with this request: it resets the stream with %v", errHTTP, f.ErrCode)
		}
		h.end(id)
	case *http2.MetaHeadersFrame:
		err = h.headers(s, f)
	case *http2.DataFrame:
		err = h.body(s, int(f.Header().Length))
	}
	if err == nil && h.frames.Len() > 0 {
		err = h.flush()
	}
	if err == nil && flags.Has(http2.FlagHeadersEndStream) { // DATA has the same bit
		h.end(id)
	}
	return err
}

// settle notes the settings of the server that requests depend on.
func (h *http2Conn) settle(f *http2.SettingsFrame) {
	h.settled = true
	if most, ok := f.Value(http2.SettingMaxConcurrentStreams); ok {
		h.maxStreams = int(most)
	}
	if window, ok := f.Value(http2.SettingInitialWindowSize); ok {
		for _, open := range h.streams {
			open.window += int(window) - h.initial
		}
		h.initial = int(window)
	}
	if size, ok := f.Value(http2.SettingHeaderTableSize); ok {
		h.encoder.SetMaxDynamicTableSizeLimit(size)
	}
}

func (h *http2Conn) headers(s *stream, f *http2.MetaHeadersFrame) error {
	if f.Truncated {
		return errLongHeader
	}
	if s == nil || s.answered { // these are trailers
		return nil
	}
	status, err := strconv.Atoi(f.PseudoValue("status"))
	if err != nil {
		return fmt.Errorf("%w: a response has status %.40q", errHTTP, f.PseudoValue("status"))
	}
	if status/100 == 1 {
		return nil
	}
	c := h.client
	s.answered, c.answered = true, time.Now()
	c.status, c.location, c.server = status, "", ""
	for _, field := range f.RegularFields() {
		switch field.Name {
		case "location":
			c.location = field.Value
		case "server":
			c.server = field.Value
		}
	}
	return nil
}

func (h *http2Conn) body(s *stream, size int) error {
	if h.unread += size; h.unread >= returnWindow/2 {
		_ = h.framer.WriteWindowUpdate(0, uint32(h.unread)) //nolint:gosec // less than returnWindow
		h.unread = 0
	}
	if s == nil {
		return nil
	}
	if s.body += size; s.body > mostBody {
		return errLongBody
	}
	return nil
}

func (h *http2Conn) end(id uint32) {
	if h.streams[id] != nil {
		delete(h.streams, id)
		h.ended()
	}
}
