package sockopt

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/connection"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// corkedWriter corks a connection from the header of a response on, and not before: a
// request's body, a 100 Continue and an upgrade must not wait for full segments.
type corkedWriter struct {
	*caddyhttp.ResponseWriterWrapper
	conn   *connection.Served
	hold   *socket.Hold
	corked bool
}

// WriteHeader corks, unless the status is informational.
func (c *corkedWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		c.cork()
	}
	c.ResponseWriterWrapper.WriteHeader(status)
}

// Write corks.
func (c *corkedWriter) Write(p []byte) (int, error) {
	c.cork()
	return c.ResponseWriterWrapper.Write(p)
}

// ReadFrom corks.
func (c *corkedWriter) ReadFrom(r io.Reader) (int64, error) {
	c.cork()
	return c.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError sends what was written so far: the kernel sends a segment that is not
// full when the cork is taken out.
func (c *corkedWriter) FlushError() error {
	err := http.NewResponseController(c.ResponseWriter).Flush()
	if c.corked {
		c.conn.Push(c.hold)
	}
	return err
}

func (c *corkedWriter) cork() {
	if !c.corked {
		c.corked = true
		c.conn.Cork(c.hold)
	}
}

// end is called when the handlers have returned.
func (c *corkedWriter) end() {
	if c.corked {
		c.conn.End(c.hold, false)
	}
}
