package sockopt

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
)

// TestTransportOutsideOfReverseProxy: a program may embed a Transport.
func TestTransportOutsideOfReverseProxy(t *testing.T) {
	ctx, end := caddy.NewContext(caddy.Context{Context: context.Background()})
	transport := new(Transport)
	require.NoError(t, transport.Provision(ctx))
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(lab.Stars) }))
	defer backend.Close()
	require.NoError(t, lab.Get(t.Context(), &http.Client{Transport: transport}, backend.URL))
	require.Len(t, entriesOf(stats.Dialed), 1)
	end()
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

// protocols are those of a backend, with what they take of the transport.
var protocols = []struct {
	name     string
	versions []string // of the transport
	tls      bool
}{
	{"HTTP/1.1", nil, false},
	{"HTTP/1.1 over TLS", []string{"1.1"}, true},
	{"HTTP/2 over TLS", nil, true},
	{"h2c", []string{"h2c"}, false},
}

// TestRoundTripAllocations bounds what a request costs beyond transport http: the hook that
// hears of its connection.
func TestRoundTripAllocations(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			const requests = 2000
			count := func(transport roundTripper, http *reverseproxy.HTTPTransport) (objects, size float64) {
				http.Versions = p.versions
				request := newRequester(t, transport, http, p.tls)
				for range 20 { // a connection that nobody waits for is patient by then
					require.NoError(t, request())
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for range requests {
					require.NoError(t, request())
				}
				runtime.ReadMemStats(&after)
				return float64(after.Mallocs-before.Mallocs) / requests, float64(after.TotalAlloc-before.TotalAlloc) / requests
			}
			stock := new(reverseproxy.HTTPTransport)
			objects, size := count(stock, stock)
			transport := new(Transport)
			ours, oursSize := count(transport, &transport.HTTPTransport)
			t.Logf("a request: transport http %.2f objects, %.0f bytes; transport sockopt %.2f, %.0f", objects, size, ours, oursSize)
			if !lab.Race { // it allocates by itself
				require.Less(t, ours, objects+1.5)
				require.Less(t, oursSize, size+128)
			}
		})
	}
}

// BenchmarkRoundTrip counts the allocations of a request.
func BenchmarkRoundTrip(b *testing.B) {
	for _, p := range protocols {
		for _, name := range []string{"http", "sockopt"} {
			b.Run(p.name+"/"+name, func(b *testing.B) {
				ours := new(Transport)
				var transport roundTripper = ours
				if name == "http" {
					transport = &ours.HTTPTransport
				}
				ours.Versions = p.versions
				request := newRequester(b, transport, &ours.HTTPTransport, p.tls)
				b.ReportAllocs()
				for b.Loop() {
					require.NoError(b, request())
				}
			})
		}
	}
}

// asReverseProxy adds to a context what reverse_proxy adds for each request.
func asReverseProxy(ctx context.Context, backend string) context.Context {
	const key caddy.CtxKey = "reverse_proxy.dial_info" // dialInfoCtxKey in hosts.go
	ctx = context.WithValue(ctx, key, reverseproxy.DialInfo{Network: "tcp", Address: backend})
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(int, textproto.MIMEHeader) error { return nil },
	})
}

// newRequester returns a function that sends a request, as reverse_proxy does, and reads
// the response to its end.
func newRequester(t testing.TB, transport roundTripper, http1 *reverseproxy.HTTPTransport, secure bool) (request func() error) {
	t.Helper()
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(lab.Stars[:1000]) }))
	backend.Config.Protocols = new(http.Protocols)
	backend.Config.Protocols.SetHTTP1(true)
	backend.Config.Protocols.SetUnencryptedHTTP2(true)
	if backend.EnableHTTP2 = secure; secure {
		backend.StartTLS()
		http1.TLS = &reverseproxy.TLSConfig{InsecureSkipVerify: true}
	} else {
		backend.Start()
	}
	t.Cleanup(backend.Close)
	provisionedTransport(t, transport)
	addr := backend.Listener.Addr().String()
	buf := make([]byte, 4096)
	return func() error {
		req, err := http.NewRequestWithContext(asReverseProxy(context.Background(), addr), http.MethodGet, backend.URL, nil)
		if err != nil {
			return err
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.CopyBuffer(io.Discard, struct{ io.Reader }{resp.Body}, buf)
		return err
	}
}
