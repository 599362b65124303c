package integration_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

func TestEchoPayloadOfOneGiBTakesNone(t *testing.T) {
	addr, _ := echo(t, "echo_payload 1GiB")
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	c := dialLine(t, addr)
	buf := make([]byte, 256<<10)
	before := allocated()
	c.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.EqualValues(t, 1<<30, resp.ContentLength)
	var received int64
	for err == nil {
		var n int
		n, err = resp.Body.Read(buf)
		received += int64(n)
		if strings.Trim(string(buf[:min(n, 64)]), "*") != "" {
			t.Fatal("something else than * in the payload")
		}
	}
	require.ErrorIs(t, err, io.EOF)
	require.EqualValues(t, 1<<30, received)
	require.Less(t, allocated()-before, uint64(16<<20))
}

func TestEchoMemoryDoesNotGrowWithConnections(t *testing.T) {
	addr, _ := echo(t, "echo_payload 64MiB")
	inUse := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := inUse()
	clients := make([]*lineClient, 100)
	for i := range clients {
		clients[i] = dialLine(t, addr)
		clients[i].send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	}
	// All of them are being served, and none is at its end.
	for _, c := range clients {
		_, err := io.CopyN(io.Discard, c.r, 1<<20)
		require.NoError(t, err)
	}
	require.Less(t, inUse()-before, int64(len(clients)*64<<10))
}

func init() { caddy.RegisterModule(writesWrapper{}) }

// writesWrapper is a listener wrapper that notes the writes of a server.
type writesWrapper struct{}

func (writesWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.listeners.test_writes",
		New: func() caddy.Module { return new(writesWrapper) },
	}
}

func (writesWrapper) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (writesWrapper) WrapListener(ln net.Listener) net.Listener { return writesListener{ln} }

type writesListener struct{ net.Listener }

func (l writesListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return conn, err
	}
	return writesConn{conn}, nil
}

type writesConn struct{ net.Conn }

var writes struct {
	sync.Mutex
	sizes []int
}

func (c writesConn) Write(p []byte) (int, error) {
	writes.Lock()
	writes.sizes = append(writes.sizes, len(p))
	writes.Unlock()
	return c.Conn.Write(p)
}

func TestEchoOnTheWire(t *testing.T) {
	const header = -1 // stands for the size of the header block
	for _, test := range []struct {
		name  string
		lines string
		sizes []int
	}{
		{"header and payload together", "echo_payload 100", []int{header + 100}},
		{"flush_headers", "echo_payload 100 {\nflush_headers\n}", []int{header, 100}},
		{"write_size", "echo_payload 5000 {\nwrite_size 2000\n}", []int{header + 2000, 2000, 1000}},
		{"both", "echo_payload 5000 {\nwrite_size 2000\nflush_headers\n}", []int{header, 2000, 2000, 1000}},
		{"one byte each", "echo_payload 5 {\nwrite_size 1\nflush_headers\n}", []int{header, 1, 1, 1, 1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := lab.Address(t)
			inprocess.Run(t, lab.Wrappers("test_writes"), "http://"+addr+" {\n"+test.lines+"\n}")
			c := dialLine(t, addr)
			writes.sizes = nil
			c.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
			wire, err := io.ReadAll(c.r)
			require.NoError(t, err)
			head, body, ok := bytes.Cut(wire, []byte("\r\n\r\n"))
			require.True(t, ok)
			require.Empty(t, bytes.Trim(body, "*"), "chunks")

			size := len(head) + len("\r\n\r\n")
			want := test.sizes
			want[0] += size - header
			writes.Lock()
			defer writes.Unlock()
			require.Equal(t, want, writes.sizes)
		})
	}
}
