package sockopt

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// EchoPayload is a test tool. It answers every request with a fixed payload, by default the 10,000 "*" that the
// server of the original experiment returned. It reads the request's body to its end and drops it.
//
// JSON:
//
//	{"handler": "echo_payload", "size": 1048576, "write_size": 1448}
//
// Caddyfile, in a site block:
//
//	echo_payload {
//		size 1MiB
//		write_size 1448
//	}
type EchoPayload struct {
	// Bytes in the payload, or a string such as "1MiB". Default: 10000.
	Size *options.Size `json:"size,omitempty"`

	// The one ASCII character that the payload repeats. Default: "*".
	Fill string `json:"fill,omitempty"`

	// Content-Type of the response. Default: "text/plain".
	ContentType string `json:"content_type,omitempty"`

	// Send the payload in pieces of this many bytes, each flushed by itself,
	// as servers do that stall under Nagle's algorithm. Default: one piece.
	WriteSize *options.Size `json:"write_size,omitempty"`

	// Send the header block by itself, before the payload. Default: false.
	FlushHeaders bool `json:"flush_headers,omitempty"`

	size, piece int64
	block       []byte
	length      string
	contentType string
	log         *zap.Logger
}

const (
	wantContentType = "a media type such as text/plain"

	// maxEchoBlock bounds the memory that a payload takes, in bytes. A larger payload repeats its block.
	maxEchoBlock = 64 << 10
)

// CaddyModule returns the Caddy module information.
func (EchoPayload) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.echo_payload", New: func() caddy.Module { return new(EchoPayload) }}
}

// Provision builds the payload, which all requests share.
func (e *EchoPayload) Provision(ctx caddy.Context) error {
	_, e.log = serverOf(ctx)

	fill := cmp.Or(e.Fill, "*")
	if err := checkFill(fill); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	e.size = int64(*cmp.Or(e.Size, new(options.Size(10_000))))
	e.piece = e.size
	if e.WriteSize != nil {
		if err := checkWriteSize(*e.WriteSize); err != nil {
			return fmt.Errorf("write_size: %w", err)
		}
		e.piece = int64(*e.WriteSize)
	}
	e.contentType = cmp.Or(e.ContentType, "text/plain")
	if err := checkContentType(e.contentType); err != nil {
		return fmt.Errorf("content_type: %w", err)
	}
	e.block = bytes.Repeat([]byte(fill), int(min(e.size, e.piece, maxEchoBlock)))
	e.length = strconv.FormatInt(e.size, 10)
	return nil
}

func checkFill(fill string) error {
	if len(fill) != 1 || fill[0] >= 0x80 {
		return fmt.Errorf("%q is not one ASCII character, such as *", fill)
	}
	return nil
}

func checkContentType(text string) error {
	if _, _, err := mime.ParseMediaType(text); err != nil {
		return fmt.Errorf("%q is not %s", text, wantContentType)
	}
	return nil
}

func checkWriteSize(size options.Size) error {
	if size < 1 {
		return errors.New("must be at least 1 byte; leave it out to send the payload in one piece")
	}
	return nil
}

// ServeHTTP answers with the payload. The answer to HEAD has the same header
// and no payload. A body over the server's limit is answered with status 413.
func (e *EchoPayload) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	// Caddy's and net/http's limits hold: request_body max_size, whose status 413 stays, and read_timeout.
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return caddyhttp.Error(http.StatusBadRequest, err)
	}

	// Other handlers edit headers in place, so each response has its own.
	w.Header().Set("Content-Length", e.length)
	w.Header().Set("Content-Type", e.contentType)
	w.WriteHeader(http.StatusOK)

	if err := e.send(w, r.Method == http.MethodHead); err != nil {
		// The client left. The body is shorter than Content-Length, so net/http closes the connection.
		if c := e.log.Check(zap.DebugLevel, "payload not sent to its end"); c != nil {
			c.Write(zap.String("remote", r.RemoteAddr), zap.Error(err))
		}
	}
	return nil
}

// send writes the payload, flushing where the configuration says so.
func (e *EchoPayload) send(w http.ResponseWriter, headersOnly bool) (err error) {
	flush := func(wanted bool) {
		if err == nil && wanted {
			err = http.NewResponseController(w).Flush()
		}
		if errors.Is(err, http.ErrNotSupported) { // another handler keeps the response back, and sends it later
			err = nil
		}
	}
	flush(e.FlushHeaders)
	for left := e.size; left > 0 && !headersOnly && err == nil; {
		for piece := min(left, e.piece); piece > 0 && err == nil; {
			var n int
			n, err = w.Write(e.block[:min(piece, int64(len(e.block)))])
			piece -= int64(n)
			left -= int64(n)
		}
		flush(e.WriteSize != nil)
	}
	return err
}
