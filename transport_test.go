package sockopt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
)

// TestTransportOutsideOfReverseProxy: a program may embed a Transport.
func TestTransportOutsideOfReverseProxy(t *testing.T) {
	transport := provisionedTransport(t, new(Transport))
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(lab.Stars) }))
	defer backend.Close()
	require.NoError(t, lab.Get(t.Context(), &http.Client{Transport: transport}, backend.URL))
	require.Len(t, entriesOf(stats.Dialed), 1)
	require.NoError(t, transport.Cleanup())
	require.Empty(t, entriesOf(stats.Dialed))
}

// roundTripper is a transport as Caddy has it.
type roundTripper interface {
	http.RoundTripper
	caddy.Provisioner
	caddy.CleanerUpper
}

func provisionedTransport(t testing.TB, transport roundTripper) roundTripper {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	require.NoError(t, transport.Provision(ctx))
	t.Cleanup(func() { require.NoError(t, transport.Cleanup()) })
	return transport
}

// TestRoundTripAllocations bounds what a request costs beyond transport http: a
// trace, its context, and the copy of the request that has it.
func TestRoundTripAllocations(t *testing.T) {
	count := func(transport roundTripper) float64 {
		request := newRequester(t, transport)
		var failed error
		allocations := testing.AllocsPerRun(1000, func() { failed = errors.Join(failed, request()) })
		require.NoError(t, failed)
		return allocations
	}
	stock, ours := count(new(reverseproxy.HTTPTransport)), count(new(Transport))
	t.Logf("allocations a request: transport http %v, transport sockopt %v", stock, ours)
	require.LessOrEqual(t, ours, stock+8)
}

// newRequester returns a function that sends a request, as reverse_proxy does,
// and reads the response to its end.
func newRequester(t testing.TB, transport roundTripper) (request func() error) {
	t.Helper()
	provisionedTransport(t, transport)
	response := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n%s", lab.Stars[:1000])
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
				_, _ = conn.Write(response)
			}
		}
	}()
	buf := make([]byte, 4096)
	return func() error {
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			Got1xxResponse: func(int, textproto.MIMEHeader) error { return nil },
		})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ln.Addr().String(), nil)
		if err != nil {
			return err
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		if err != io.EOF {
			return err
		}
		return nil
	}
}
