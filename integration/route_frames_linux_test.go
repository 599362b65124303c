package integration_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestRouteKeepsFrames: a response over HTTP/2 has the same frames with and without a
// route's sockopt, whatever its kind.
func TestRouteKeepsFrames(t *testing.T) {
	backend := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/trailers-only": // as gRPC reports an error
			w.Header().Set("Grpc-Status", "5")
		case "/trailers":
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = w.Write([]byte("body"))
			w.Header().Set("Grpc-Status", "0")
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/unchanged":
			w.WriteHeader(http.StatusNotModified)
		case "/empty":
			w.Header().Set("Content-Length", "0")
		case "/flushed":
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write([]byte("body"))
		case "/short":
			_, _ = w.Write([]byte("body"))
		case "/long":
			_, _ = w.Write(bytes.Repeat([]byte("*"), 20_000))
		}
	})
	with, without := lab.Address(t), lab.Address(t)
	lab.Spawn(t, "servers {\nprotocols h1 h2c\n}", fmt.Sprintf(
		"http://%s {\nsockopt {\nnotsent_lowat 16KiB\ncork on\n}\nreverse_proxy h2c://%s\n}\nhttp://%s {\nreverse_proxy h2c://%[2]s\n}\n", with, backend, without))
	for _, request := range []struct{ method, path string }{
		{http.MethodGet, "/trailers-only"},
		{http.MethodGet, "/trailers"},
		{http.MethodHead, "/long"},
		{http.MethodGet, "/none"},
		{http.MethodGet, "/unchanged"},
		{http.MethodGet, "/empty"},
		{http.MethodGet, "/flushed"},
		{http.MethodGet, "/short"},
		{http.MethodGet, "/long"},
	} {
		t.Run(request.method+request.path, func(t *testing.T) {
			want := framesOf(t, without, request.method, request.path)
			require.NotEmpty(t, want)
			require.Equal(t, want, framesOf(t, with, request.method, request.path))
		})
	}
}

// framesOf returns the frames of a response over h2c, with the bytes of those of DATA
// that follow each other added up: how they are cut is the scheduler's business.
func framesOf(t *testing.T, addr, method, path string) (frames []string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(lab.Patience)))
	_, err = conn.Write([]byte(http2.ClientPreface))
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	require.NoError(t, framer.WriteSettings())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: method},
		{Name: ":scheme", Value: "http"},
		{Name: ":authority", Value: addr},
		{Name: ":path", Value: path},
		{Name: "te", Value: "trailers"},
	} {
		require.NoError(t, encoder.WriteField(f))
	}
	require.NoError(t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}))
	data := 0
	flush := func(end bool) {
		if data > 0 || end {
			frames = append(frames, fmt.Sprintf("DATA %d, end %v", data, end))
		}
		data = 0
	}
	for {
		frame, err := framer.ReadFrame()
		require.NoError(t, err)
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				require.NoError(t, framer.WriteSettingsAck())
			}
		case *http2.MetaHeadersFrame:
			flush(false)
			var fields []string
			for _, field := range f.Fields {
				if field.Name != "date" {
					fields = append(fields, field.Name+": "+field.Value)
				}
			}
			slices.Sort(fields)
			frames = append(frames, fmt.Sprintf("HEADERS %v, end %v", fields, f.StreamEnded()))
			if f.StreamEnded() {
				return frames
			}
		case *http2.DataFrame:
			data += len(f.Data())
			if f.StreamEnded() {
				flush(true)
				return frames
			}
		}
	}
}
