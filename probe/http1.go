package probe

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// http1 is a connection of HTTP/1.1.
type http1 struct {
	*wire
	reader  *bufio.Reader
	bounded *io.LimitedReader // what reader reads
	pieces  [][]byte          // of a request; the last ends with the first block of the body
	rest    int               // bytes of the body after the first block
}

func newHTTP1(w *wire) *http1 {
	c := w.client
	bounded := &io.LimitedReader{R: w}
	var fields bytes.Buffer
	fmt.Fprintf(&fields, "Host: %s\r\n", c.host)
	_ = c.fields.Write(&fields) // to a buffer
	return &http1{
		wire: w, bounded: bounded, reader: bufio.NewReader(bounded),
		rest: c.BodySize - len(c.block),
		pieces: [][]byte{
			fmt.Appendf(nil, "%s %s HTTP/1.1\r\n", c.Method, c.target.RequestURI()),
			fields.Bytes(),
			append([]byte("\r\n"), c.block...),
		},
	}
}

// ask has its writer in the background where requests are many: a server may stop to read
// when its responses are not read. It may also answer and close before it has a whole request.
func (h *http1) ask(requests int, pieces bool, answered func()) (closes bool, err error) {
	h.limit()
	sent := make(chan error, 1)
	send := func() { sent <- h.sendAll(requests, pieces) }
	if requests == 1 {
		send()
	} else {
		go send()
	}
	for left := requests; left > 0 && err == nil; left-- {
		switch closes, err = h.receive(); {
		case err != nil:
		case closes && left > 1:
			err = errCloses
			fallthrough
		default:
			answered()
		}
	}
	if closes || err != nil {
		h.Close() // ends the writer as well
	}
	return <-sent != nil || closes, err
}

func (h *http1) sendAll(requests int, pieces bool) error {
	if requests == 1 {
		return h.send(h, pieces)
	}
	w := bufio.NewWriterSize(h, 64<<10)
	for range requests {
		if err := h.send(w, pieces); err != nil {
			return err
		}
	}
	return w.Flush()
}

// send writes a request.
func (h *http1) send(w io.Writer, pieces bool) error {
	writes := h.pieces
	if !pieces {
		writes = [][]byte{bytes.Join(h.pieces, nil)}
	}
	for _, b := range writes {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	for left := h.rest; left > 0; left -= len(h.client.block) {
		if _, err := w.Write(h.client.block[:min(left, len(h.client.block))]); err != nil {
			return err
		}
	}
	return nil
}

func (h *http1) receive() (closes bool, err error) {
	h.bounded.N = mostHeader
	begin, err := h.reader.Peek(len("HTTP/"))
	if !strings.HasPrefix("HTTP/", string(begin)) {
		return false, fmt.Errorf("%w: it says %.40q", errHTTP, begin)
	}
	if err != nil && len(begin) == 0 {
		return false, err
	}
	h.client.answered = time.Now()
	var resp *http.Response
	for {
		resp, err = http.ReadResponse(h.reader, &http.Request{Method: h.client.Method})
		if h.bounded.N <= 0 {
			return false, errLongHeader
		}
		if h.failed == io.EOF { //nolint:errorlint // as readers return it
			h.failed = io.ErrUnexpectedEOF
		}
		if err != nil && h.failed != nil {
			return false, fmt.Errorf("the header of the response broke off: %w", h.failed)
		}
		if err != nil {
			return false, fmt.Errorf("%w: %w", errHTTP, err)
		}
		if resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	defer resp.Body.Close()
	if resp.ContentLength > mostBody {
		return false, errLongBody
	}
	h.bounded.N = mostBody
	read, err := io.Copy(io.Discard, resp.Body)
	if h.bounded.N <= 0 {
		return false, errLongBody
	}
	if err != nil {
		return false, fmt.Errorf("the response broke off after %d bytes: %w", read, err)
	}
	c := h.client
	c.status, c.location, c.server = resp.StatusCode, resp.Header.Get("Location"), resp.Header.Get("Server")
	return resp.Close, nil
}
