package sockopt

import (
	"io"
	"math"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// response writes what a route corks or paces. It does so from the header on, and not
// before: a request's body, a 100 Continue and an upgrade must not wait for full segments.
type response struct {
	*caddyhttp.ResponseWriterWrapper
	req    *routed
	begun  bool
	corked bool
	pace   *limit // nil where nothing is paced
	free   int64  // bytes that are yet to go unpaced
}

// WriteHeader begins, unless the status is informational.
func (w *response) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.begin()
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write writes at the pace of the route.
func (w *response) Write(p []byte) (n int, err error) {
	w.begin()
	for {
		part := p[n:]
		part = part[:min(int64(len(part)), w.part())]
		if err := w.wait(int64(len(part))); err != nil {
			return n, err
		}
		m, err := w.ResponseWriterWrapper.Write(part)
		n += m
		if err != nil || n >= len(p) {
			return n, err
		}
		w.sendPart()
	}
}

// ReadFrom writes what r has at the pace of the route. The kernel may copy a file by itself
// as without it, with a pace where r says how much of the file is to be written.
func (w *response) ReadFrom(r io.Reader) (n int64, err error) {
	w.begin()
	if w.pace == nil {
		return w.ResponseWriterWrapper.ReadFrom(r)
	}
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	for limited.N > 0 {
		if n > 0 {
			w.sendPart()
		}
		most := min(limited.N, w.part())
		if err := w.wait(most); err != nil {
			return n, err
		}
		rest := limited.N - most
		limited.N = most
		m, err := w.ResponseWriterWrapper.ReadFrom(limited)
		limited.N += rest
		n += m
		if err != nil || m < most {
			return n, err
		}
	}
	return n, nil
}

// FlushError sends what was written so far: the kernel sends a segment that is not
// full when the cork is taken out.
func (w *response) FlushError() error {
	err := http.NewResponseController(w.ResponseWriter).Flush()
	if w.corked {
		w.req.conn.Push()
	}
	return err
}

// begin does once what the routes say that count.
func (w *response) begin() {
	if w.begun {
		return
	}
	w.begun = true
	if w.corked = w.req.corks(); w.corked {
		w.req.conn.Corked()
		w.req.set(socket.Cork)
	}
	h := w.req.first(func(h *Handler) bool { return h.PacingRate != nil })
	if h != nil && w.req.Method != http.MethodHead {
		w.pace = limitOf(w.req.Request, int64(*h.PacingRate))
		if h.PacingAfter != nil {
			w.free = int64(*h.PacingAfter)
		}
	}
}

// sendPart sends a part before the next one waits: what stays in a buffer until the end
// would leave late.
func (w *response) sendPart() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// part is the most that is written at once.
func (w *response) part() int64 {
	switch {
	case w.pace == nil:
		return math.MaxInt64
	case w.free > 0:
		return w.free
	}
	return w.pace.part
}

// wait waits until n bytes may be sent. Once all is sent that goes unpaced, the kernel paces
// as well.
func (w *response) wait(n int64) error {
	switch {
	case w.pace == nil:
		return nil
	case w.free > 0:
		w.free -= n
		return nil
	case w.free == 0:
		w.free--
		w.req.set(socket.PacingRate)
	}
	return w.pace.WaitN(w.req.Context(), int(n))
}
