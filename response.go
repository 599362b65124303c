package sockopt

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// response corks a connection from the header of a response on, and not before: a
// request's body, a 100 Continue and an upgrade must not wait for full segments.
type response struct {
	*caddyhttp.ResponseWriterWrapper
	req           *routed
	begun, corked bool
}

// WriteHeader begins, unless the status is informational.
func (w *response) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.begin()
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write begins.
func (w *response) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom begins.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	return w.ResponseWriterWrapper.ReadFrom(r)
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

// begin corks once, where the route that counts says so.
func (w *response) begin() {
	if w.begun {
		return
	}
	w.begun = true
	if w.corked = w.req.corks(); w.corked {
		w.req.conn.Corked()
		w.req.set(socket.Cork)
	}
}
