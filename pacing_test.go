package sockopt

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// pacedRate is the pacing_rate of these tests, in bytes a second.
const pacedRate = 50 << 10

// pacedClient receives responses, and requires that they are never more than a tenth of a
// second's bytes ahead of the limit.
type pacedClient struct {
	*httptest.ResponseRecorder
	t        *testing.T
	mu       *sync.Mutex
	begin    time.Time
	received *int
	ahead    int
}

func (c pacedClient) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.received += len(p)
	if most := int(pacedRate*time.Since(c.begin).Seconds()) + pacedRate/10 + c.ahead + 1; *c.received > most {
		c.t.Errorf("%d bytes after %v, more than %d", *c.received, time.Since(c.begin), most)
	}
	return c.ResponseRecorder.Write(p)
}

// WriteHeader leaves interim responses out, which a ResponseRecorder takes for final ones.
func (c pacedClient) WriteHeader(status int) {
	if status >= http.StatusOK {
		c.ResponseRecorder.WriteHeader(status)
	}
}

// paced lets a handler answer requests over one connection, each by f, and returns how long
// that takes.
func paced(t *testing.T, o options.Options, requests int, method string, f func(w http.ResponseWriter) error) time.Duration {
	t.Helper()
	h := &Handler{Options: o, log: zap.NewNop()}
	conn := pacedClient{t: t, mu: new(sync.Mutex), begin: time.Now(), received: new(int)}
	if o.PacingAfter != nil {
		conn.ahead = requests * int(*o.PacingAfter)
	}
	if method == http.MethodHead {
		conn.ahead = 1 << 30
	}
	ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.UnixAddr{})
	var wg sync.WaitGroup
	for range requests {
		wg.Go(func() {
			client := conn
			client.ResponseRecorder = httptest.NewRecorder()
			r := httptest.NewRequest(method, "/", nil).WithContext(ctx)
			next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error { return f(w) })
			if err := h.ServeHTTP(client, r, next); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return time.Since(conn.begin)
}

// TestPacing: the requests of a connection share its limit, however a handler writes.
func TestPacing(t *testing.T) {
	const size = 250 << 10
	body := strings.Repeat("*", size)
	limited := options.Options{PacingRate: new(options.Size(pacedRate))}
	after := options.Options{PacingRate: limited.PacingRate, PacingAfter: new(options.Size(100 << 10))}
	whole := func(w http.ResponseWriter) error {
		_, err := io.WriteString(w, body)
		return err
	}
	for _, test := range []struct {
		name     string
		options  options.Options
		requests int
		method   string
		write    func(w http.ResponseWriter) error
		want     time.Duration
	}{
		{"one write", limited, 1, http.MethodGet, whole, 5 * time.Second},
		{"small writes", limited, 1, http.MethodGet, func(w http.ResponseWriter) error {
			for range size / 512 {
				if _, err := io.WriteString(w, body[:512]); err != nil {
					return err
				}
				if err := http.NewResponseController(w).Flush(); err != nil {
					return err
				}
			}
			return nil
		}, 5 * time.Second},
		{"io.ReaderFrom", limited, 1, http.MethodGet, func(w http.ResponseWriter) error {
			n, err := w.(io.ReaderFrom).ReadFrom(bytes.NewReader([]byte(body)))
			require.EqualValues(t, size, n)
			return err
		}, 5 * time.Second},
		{"io.LimitedReader", limited, 1, http.MethodGet, func(w http.ResponseWriter) error {
			n, err := w.(io.ReaderFrom).ReadFrom(io.LimitReader(strings.NewReader(body+"more"), size))
			require.EqualValues(t, size, n)
			return err
		}, 5 * time.Second},
		{"short readers", after, 1, http.MethodGet, func(w http.ResponseWriter) error {
			for range size / 512 {
				if _, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(body[:512])); err != nil {
					return err
				}
			}
			return nil
		}, 3 * time.Second},
		{"eight requests at a time", limited, 8, http.MethodGet, func(w http.ResponseWriter) error {
			_, err := io.WriteString(w, body[:size/8])
			return err
		}, 5 * time.Second},
		{"an interim response", limited, 1, http.MethodGet, func(w http.ResponseWriter) error {
			w.WriteHeader(http.StatusEarlyHints)
			return whole(w)
		}, 5 * time.Second},
		{"nothing to send", limited, 1, http.MethodHead, whole, 0},
		{"pacing_after", after, 1, http.MethodGet, whole, 3 * time.Second},
		{"pacing_after of two requests", after, 2, http.MethodGet, whole, 6 * time.Second},
		{"less than pacing_after", after, 1, http.MethodGet, func(w http.ResponseWriter) error {
			_, err := io.WriteString(w, body[:100<<10])
			return err
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				took := paced(t, test.options, test.requests, test.method, test.write)
				require.InDelta(t, test.want.Seconds(), took.Seconds(), test.want.Seconds()/10)
			})
		})
	}
}

// TestPacingInTurn: a connection's next request does not go ahead anew.
func TestPacingInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r = r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, &net.UnixAddr{}))
		begin := time.Now()
		for range 100 {
			require.NoError(t, limitOf(r, pacedRate).WaitN(t.Context(), pacedRate/20))
		}
		require.InDelta(t, 5, time.Since(begin).Seconds(), 0.1)
	})
}

// TestPacingEnds when the client leaves.
func TestPacingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		h := &Handler{Options: options.Options{PacingRate: new(options.Size(1))}, log: zap.NewNop()}
		time.AfterFunc(10*time.Second, cancel)
		begin := time.Now()
		var written int
		err := h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx), caddyhttp.HandlerFunc(
			func(w http.ResponseWriter, _ *http.Request) (err error) {
				written, err = io.WriteString(w, "more than goes in ten seconds")
				return err
			}))
		require.InDelta(t, 10, written, 1)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 10*time.Second, time.Since(begin))
	})
}

// TestPacingForgets: a limit is a connection's for as long as that exists.
func TestPacingForgets(t *testing.T) {
	for _, addr := range []net.Addr{new(net.TCPAddr), new(net.UDPAddr), new(net.UnixAddr)} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r = r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, addr))
		l := limitOf(r, pacedRate)
		runtime.GC()
		require.Same(t, l, limitOf(r, pacedRate))
		require.NotSame(t, l, limitOf(r, 2*pacedRate))
		require.GreaterOrEqual(t, pacedConnections(), 2)
		runtime.KeepAlive(r)
	}
	require.NoError(t, lab.Eventually("no limit", func() (bool, error) {
		runtime.GC()
		return pacedConnections() == 0, nil
	}))
}

// pacedConnections returns how many connections have a limit.
func pacedConnections() (n int) {
	limits.Range(func(any, any) bool { n++; return true })
	return n
}
