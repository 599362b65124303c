package lab

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestHTTP2Resets: a server may reset a stream that has ended. A stream that is open, or
// that nobody has opened, is an error.
func TestHTTP2Resets(t *testing.T) {
	for _, test := range []struct {
		name   string
		resets uint32 // once stream 1 has ended and 3 is open
		err    string
	}{
		{"ended", 1, ""},
		{"open", 3, "stream 3 was reset: INTERNAL_ERROR"},
		{"never opened", 5, "stream 5 was reset: INTERNAL_ERROR"},
	} {
		t.Run(test.name, func(t *testing.T) {
			near, far := net.Pipe()
			defer near.Close()
			defer far.Close()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			h, err := NewHTTP2(near, Loopback)
			require.NoError(t, err)
			server := http2.NewFramer(far, nil)
			answer := func(stream uint32) {
				var block bytes.Buffer
				_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: strconv.Itoa(http.StatusOK)})
				_ = server.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
				_ = server.WriteData(stream, true, Stars)
			}
			require.NoError(t, h.Send())
			sent := make(chan struct{})
			go func() {
				answer(1)
				<-sent
				_ = server.WriteRSTStream(test.resets, http2.ErrCodeInternal)
				answer(3)
			}()
			body, err := h.Receive()
			require.NoError(t, err)
			require.Equal(t, Stars, body)

			require.NoError(t, h.Send())
			close(sent)
			body, err = h.Receive()
			if test.err != "" {
				require.EqualError(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, Stars, body)
		})
	}
}
