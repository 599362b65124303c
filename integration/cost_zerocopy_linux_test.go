package integration_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// Stock Caddy lets the kernel move a file to a connection (sendfile(2)), and a wrapped
// connection does so, too.
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
			l := lab.Sites{Options: served.options}
			for _, w := range []lab.Wrapping{lab.Stock, lab.Auto, lab.On} {
				l.Add(t, w, lab.Plain, "root "+dir+"\nfile_server")
			}
			for _, route := range []string{"cork on", "pacing_rate 5MiB"} {
				l.Add(t, lab.Auto, lab.Plain, "root "+dir+"\nsockopt {\n"+route+"\n}\nfile_server")
			}
			system := l.Record(t, "sendfile", func(t *testing.T) {
				for _, c := range l.All {
					resp, err := http.Get("http://" + c.Addr + "/file")
					require.NoError(t, err)
					body, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					resp.Body.Close()
					require.True(t, bytes.Equal(content, body), c.Name)
				}
			})
			sent := func(c lab.Site) int { return system.Like(`^sendfile\(` + c.Descriptor()).Returned() }
			stock := sent(l.All[0])
			if served.sends {
				require.Positive(t, stock)
			}
			for _, c := range l.All {
				t.Logf("%s: sendfile sent %d of %d bytes", c.Name, sent(c), size)
				require.Equal(t, stock, sent(c), c.Name)
			}
		})
	}
}

// Stock Caddy lets the kernel move bytes from connection to connection (splice(2)), and
// a wrapped connection does so, too.
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
			var l lab.Sites
			for _, w := range []lab.Wrapping{lab.Stock, lab.Auto, lab.On} {
				l.Add(t, w, lab.Plain, forward.directive)
			}
			system := l.Record(t, "splice", func(t *testing.T) {
				for _, c := range l.All {
					upgradeAndEcho(t, c.Addr)
				}
			})
			spliced := func(c lab.Site) (fromClient, toClient int) {
				conn := c.Descriptor()
				return system.Like(`^splice\(` + conn).Returned(), system.Like(`^splice\([^,]*, NULL, ` + conn).Returned()
			}
			stockFrom, stockTo := spliced(l.All[0])
			if forward.splices {
				require.Positive(t, stockFrom)
				require.Positive(t, stockTo)
			}
			for _, c := range l.All {
				from, to := spliced(c)
				t.Logf("%s: spliced %d bytes from the client and %d to it", c.Name, from, to)
				require.Equal(t, stockFrom, from, c.Name)
				require.Equal(t, stockTo, to, c.Name)
			}
		})
	}
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
	require.NoError(t, conn.SetDeadline(time.Now().Add(lab.Patience)))
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)

	echoed := make([]byte, len(lab.Stars))
	for range 10 {
		_, err := conn.Write(lab.Stars)
		require.NoError(t, err)
		_, err = io.ReadFull(reader, echoed)
		require.NoError(t, err)
		require.True(t, bytes.Equal(lab.Stars, echoed))
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
	if !lab.IsCaddy() {
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
