package sockopt

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// provisionedEcho returns a handler as Caddy would have it.
func provisionedEcho(t testing.TB, e EchoPayload) *EchoPayload {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	require.NoError(t, e.Provision(ctx))
	return &e
}

// notingWriter is a response writer that notes what happens to it, in order.
type notingWriter struct {
	header http.Header
	notes  []string
}

func (w *notingWriter) Header() http.Header { return w.header }

func (w *notingWriter) WriteHeader(status int) {
	w.notes = append(w.notes, fmt.Sprintf("status %d", status))
}

func (w *notingWriter) Flush() { w.notes = append(w.notes, "flush") }

func (w *notingWriter) Write(p []byte) (int, error) {
	w.notes = append(w.notes, fmt.Sprintf("write %d", len(p)))
	return len(p), nil
}

func TestEchoWritesAndFlushes(t *testing.T) {
	for _, test := range []struct {
		name  string
		echo  EchoPayload
		head  bool
		notes []string
	}{
		{"default", EchoPayload{}, false, []string{"status 200", "write 10000"}},
		{"more than a block", EchoPayload{Size: new(options.Size(70_000))}, false, []string{"status 200", "write 65536", "write 4464"}},
		{"empty", EchoPayload{Size: new(options.Size(0))}, false, []string{"status 200"}},
		{"flush_headers", EchoPayload{FlushHeaders: true}, false, []string{"status 200", "flush", "write 10000"}},
		{"write_size", EchoPayload{WriteSize: new(options.Size(4000))}, false, []string{
			"status 200", "write 4000", "flush", "write 4000", "flush", "write 2000", "flush",
		}},
		{"write_size over a block", EchoPayload{Size: new(options.Size(70_001)), WriteSize: new(options.Size(70_000))}, false, []string{
			"status 200", "write 65536", "write 4464", "flush", "write 1", "flush",
		}},
		{"both", EchoPayload{WriteSize: new(options.Size(9999)), FlushHeaders: true}, false, []string{
			"status 200", "flush", "write 9999", "flush", "write 1", "flush",
		}},
		{"HEAD", EchoPayload{WriteSize: new(options.Size(4000))}, true, []string{"status 200"}},
		{"HEAD and flush_headers", EchoPayload{FlushHeaders: true}, true, []string{"status 200", "flush"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			method := http.MethodGet
			if test.head {
				method = http.MethodHead
			}
			w := &notingWriter{header: make(http.Header)}
			e := provisionedEcho(t, test.echo)
			require.NoError(t, e.ServeHTTP(w, httptest.NewRequest(method, "/", nil), nil))
			require.Equal(t, test.notes, w.notes)
		})
	}
}

// plainWriter is a response writer that cannot flush.
type plainWriter struct{ *httptest.ResponseRecorder }

func (w plainWriter) Flush() {}

func (w plainWriter) FlushError() error { return http.ErrNotSupported }

func TestEchoSendsPayloadWhereNobodyFlushes(t *testing.T) {
	e := provisionedEcho(t, EchoPayload{WriteSize: new(options.Size(4000)), FlushHeaders: true})
	w := plainWriter{httptest.NewRecorder()}
	require.NoError(t, e.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil), nil))
	require.Equal(t, strings.Repeat("*", 10_000), w.Body.String())
}

func TestEchoAllocatesNothingForThePayload(t *testing.T) {
	for _, test := range []struct {
		name string
		echo EchoPayload
	}{
		{"default", EchoPayload{}},
		{"100 MiB", EchoPayload{Size: new(options.Size(100 << 20))}},
		{"in pieces", EchoPayload{WriteSize: new(options.Size(100)), FlushHeaders: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := provisionedEcho(t, test.echo)
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			w := silentWriter{make(http.Header)}
			require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
				_ = e.ServeHTTP(w, r, nil)
			}), 3.0)
		})
	}
}

type silentWriter struct{ header http.Header }

func (w silentWriter) Header() http.Header { return w.header }

func (w silentWriter) WriteHeader(int) {}

func (w silentWriter) Flush() {}

func (w silentWriter) Write(p []byte) (int, error) { return len(p), nil }
