package sockopt

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Where stock Caddy has the kernel move a file to a connection, sendfile(2), a
// wrapped connection does so too.
func TestSendfile(t *testing.T) {
	const size = 1 << 20
	dir := t.TempDir()
	content := bytes.Repeat([]byte("sendfile"), size/8)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), content, 0o600))
	for _, served := range []struct {
		name, options string
		sends         bool
	}{
		{"without a limit on idle writes", "timeouts {\nwrite_idle -1s\n}", true},
		// Caddy 2.11.9 limits how long a write may make no progress, and the
		// reader that does so hides the file.
		{"Caddy as it comes", "", false},
	} {
		t.Run(served.name, func(t *testing.T) {
			l := lineup{options: served.options}
			for _, w := range []wrapping{wrapStock, wrapAuto, wrapOn} {
				l.add(t, w, protocolPlain, "root "+dir+"\nfile_server")
			}
			system := l.record(t, "sendfile", func(t *testing.T) {
				for _, c := range l.contenders {
					resp, err := http.Get("http://" + c.addr + "/file")
					require.NoError(t, err)
					body, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					resp.Body.Close()
					require.True(t, bytes.Equal(content, body), c.name)
				}
			})
			sent := func(c contender) int { return system.like(`^sendfile\(` + c.onServer(t)).result(t) }
			stock := sent(l.contenders[0])
			if served.sends {
				require.Positive(t, stock)
			}
			for _, c := range l.contenders {
				t.Logf("%s: sendfile sent %d of %d bytes", c.name, sent(c), size)
				require.Equal(t, stock, sent(c), c.name)
			}
		})
	}
}

// Where stock Caddy has the kernel move bytes from connection to connection,
// splice(2), a wrapped connection does so too.
func TestSplice(t *testing.T) {
	backend := echoBackend(t)
	for _, forward := range []struct {
		name, directive string
		splices         bool // in both directions
	}{
		{"handler that copies between connections", "test_tunnel " + backend, true},
		// The body of net/http's response to an upgrade hides the connection
		// to the backend, so stock Caddy copies.
		{"reverse_proxy", "reverse_proxy " + backend, false},
	} {
		t.Run(forward.name, func(t *testing.T) {
			var l lineup
			for _, w := range []wrapping{wrapStock, wrapAuto, wrapOn} {
				l.add(t, w, protocolPlain, forward.directive)
			}
			system := l.record(t, "splice", func(t *testing.T) {
				for _, c := range l.contenders {
					upgradeAndEcho(t, c.addr)
				}
			})
			spliced := func(c contender) (fromClient, toClient int) {
				conn := c.onServer(t)
				return system.like(`^splice\(` + conn).result(t), system.like(`^splice\([^,]*, NULL, ` + conn).result(t)
			}
			stockFrom, stockTo := spliced(l.contenders[0])
			if forward.splices {
				require.Positive(t, stockFrom)
				require.Positive(t, stockTo)
			}
			for _, c := range l.contenders {
				from, to := spliced(c)
				t.Logf("%s: spliced %d bytes from the client and %d to it", c.name, from, to)
				require.Equal(t, stockFrom, from, c.name)
				require.Equal(t, stockTo, to, c.name)
			}
		})
	}
}

// echoBackend agrees to every upgrade and then returns what it is sent.
func echoBackend(t *testing.T) (addr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, stream, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		if err == nil {
			_, _ = io.Copy(conn, stream)
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// upgradeAndEcho sends messages through a server to the echo backend, and ends
// when each has come back and the connection is closed on both sides.
func upgradeAndEcho(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	upgradeAndEchoOn(t, conn.(*net.TCPConn), addr)
}

// halfCloser is a TCP or a TLS connection.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// upgradeAndEchoOn does so on a connection to host, and closes it.
func upgradeAndEchoOn(t *testing.T, conn halfCloser, host string) {
	t.Helper()
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)

	echoed := make([]byte, len(stars))
	for range 10 {
		_, err := conn.Write(stars)
		require.NoError(t, err)
		_, err = io.ReadFull(reader, echoed)
		require.NoError(t, err)
		require.True(t, bytes.Equal(stars, echoed))
	}
	require.NoError(t, conn.CloseWrite())
	_, err = reader.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

// tunnel forwards upgraded connections as plugins do that hand both connections
// to io.Copy.
type tunnel struct {
	Backend string `json:"backend"`
}

// Only a spawned Caddy has the handler, so that no test of the modules meets it.
func init() {
	if os.Getenv(asCaddy) == "" {
		return
	}
	caddy.RegisterModule(tunnel{})
	httpcaddyfile.RegisterDirectiveOrder("test_tunnel", httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterHandlerDirective("test_tunnel", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		var u tunnel
		h.Next()
		h.Args(&u.Backend)
		return u, nil
	})
}

// CaddyModule returns the Caddy module information.
func (tunnel) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_tunnel", New: func() caddy.Module { return new(tunnel) }}
}

// ServeHTTP sends the request to the backend and all that follows both ways.
func (u tunnel) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	backend, err := net.Dial("tcp", u.Backend)
	if err != nil {
		return err
	}
	defer backend.Close()
	if err := r.Write(backend); err != nil {
		return err
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(backend, conn)
		_ = backend.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(conn, backend)
	return nil
}
