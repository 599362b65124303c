package sockopt

import (
	"io"
	"net/http"

	"golang.org/x/time/rate"

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
	pace   *rate.Limiter // nil where nothing is paced
	free   int64         // bytes that are yet to go unpaced
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
		part, err := w.next(int64(len(p) - n))
		if err != nil {
			return n, err
		}
		m, err := w.ResponseWriterWrapper.Write(p[n : n+int(part)])
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
		most, err := w.next(limited.N)
		if err != nil {
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

// FlushError sends what was written so far: the kernel sends a segment that is not full when the cork is taken out.
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

// sendPart sends a part before the next one waits: what stays in a buffer until the end would leave late.
func (w *response) sendPart() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// next waits until a part of n bytes may be sent, and returns how many those are. Once all is
// sent that goes unpaced, the kernel paces as well.
func (w *response) next(n int64) (part int64, err error) {
	switch {
	case w.pace == nil:
		return n, nil
	case w.free > 0:
		part = min(n, w.free)
		w.free -= part
		return part, nil
	case w.free == 0:
		w.free--
		w.req.set(socket.PacingRate)
	}
	part = min(n, max(int64(w.pace.Burst())/2, 1))
	return part, w.pace.WaitN(w.req.Context(), int(part))
}
