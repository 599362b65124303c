package integration_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestTransportCounts counts what quickack costs towards backends that need none
// of it: system calls on the connections to them, and segments both ways. With -v
// it logs them as a table.
func TestTransportCounts(t *testing.T) {
	requests := lab.Long(100, 500)
	var l lab.Sites
	measured := make([]*counted, 0, 24)
	for _, payload := range []int{1000, len(lab.Stars)} {
		for _, p := range []string{"HTTP/1.1", "TLS", "HTTP/2", "h2c"} {
			for _, transport := range []string{"http", "sockopt", "on"}[:lab.Long(2, 3)] { // "on" is for the table
				m := countBackend(t, p, payload)
				m.transport = transport
				lines := m.lines
				if transport == "on" {
					transport = "sockopt"
					lines += "\nsocket {\nquickack on\n}"
				}
				m.site = l.Add(t, lab.Stock, lab.Plain, fmt.Sprintf("reverse_proxy %s {\ntransport %s {\n%s\n}\n}", m.addr, transport, lines))
				measured = append(measured, m)
			}
		}
	}
	ask := func(t *testing.T) {
		for _, m := range measured {
			m.forget()
			client := http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: lab.Patience}
			defer client.CloseIdleConnections()
			for range requests {
				resp, err := client.Get("http://" + m.site.Addr)
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, resp.StatusCode)
				require.Len(t, body, m.payload)
			}
			m.received, m.sent = m.segments(t)
		}
	}
	system := l.Record(t, "setsockopt", ask)
	for _, m := range measured {
		_, port, err := net.SplitHostPort(m.addr)
		require.NoError(t, err)
		m.setsockopt = len(system.Like(`^setsockopt\(\d+<TCP[^>]*->[^>]*:` + port + `\]?>`))
	}
	l.Spawn(t)
	ask(t)

	perRequest := func(count int) string { return fmt.Sprintf("%.3f", float64(count)/float64(requests)) }
	table := lab.NewTable("to the backend over", "bytes", "transport", "`setsockopt`", "segments to it", "segments from it")
	stock := make(map[string]*counted)
	for _, m := range measured {
		table.Row(m.protocol, strconv.Itoa(m.payload), m.transport, perRequest(m.setsockopt), perRequest(m.received), perRequest(m.sent))
		if m.transport == "http" {
			stock[fmt.Sprint(m.protocol, m.payload)] = m
		}
	}
	t.Logf("a request:\n\n%s", table)
	few := requests / 20
	for _, m := range measured {
		if m.transport != "sockopt" {
			continue
		}
		// With HTTP/1.1 a response in one piece costs nothing, and one in two pieces may
		// cost one acknowledgement, if the second is late. With HTTP/2 the connection
		// learns that nobody waits: it wastes four, and 24 where a busy machine looks like
		// a stall.
		most := 0
		switch {
		case strings.Contains(m.protocol, "2"):
			most = 4 + 24
		case m.payload > 1000:
			most = requests
		}
		than := stock[fmt.Sprint(m.protocol, m.payload)]
		require.LessOrEqual(t, m.setsockopt, than.setsockopt+most+few, "%s %d", m.protocol, m.payload)
		require.LessOrEqual(t, m.received, than.received+most+few, "%s %d", m.protocol, m.payload)
	}
}

// counted is a backend and what the requests to it took.
type counted struct {
	protocol  string
	payload   int
	addr      string
	lines     string // of the transport
	transport string
	site      lab.Site

	mu    sync.Mutex
	conns []net.Conn

	setsockopt, received, sent int
}

// countBackend starts a backend that writes each response at once.
func countBackend(t *testing.T, protocol string, payload int) *counted {
	t.Helper()
	m := &counted{protocol: protocol, payload: payload}
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != map[string]int{"HTTP/2": 2, "h2c": 2}[protocol]+map[string]int{"HTTP/1.1": 1, "TLS": 1}[protocol] {
			w.WriteHeader(http.StatusHTTPVersionNotSupported)
		}
		w.Header().Set("Content-Length", strconv.Itoa(payload))
		_, _ = w.Write(lab.Stars[:payload])
	}))
	backend.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.conns = append(m.conns, c)
		return ctx
	}
	switch protocol {
	case "HTTP/1.1":
		backend.Start()
	case "h2c":
		backend.Config.Protocols = new(http.Protocols)
		backend.Config.Protocols.SetUnencryptedHTTP2(true)
		backend.Start()
		m.lines = "versions h2c"
	case "TLS":
		backend.StartTLS()
		m.lines = "tls_insecure_skip_verify\nversions 1.1"
	case "HTTP/2":
		backend.EnableHTTP2 = true
		backend.StartTLS()
		m.lines = "tls_insecure_skip_verify"
	}
	t.Cleanup(backend.Close)
	m.addr = backend.Listener.Addr().String()
	return m
}

// forget has the connections so far not counted.
func (m *counted) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns = nil
}

// segments returns how many the backend's connections received and sent.
func (m *counted) segments(t *testing.T) (received, sent int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, conn := range m.conns {
		tcp, ok := socket.TCPConn(conn)
		require.True(t, ok)
		info, err := socket.Info(tcp)
		require.NoError(t, err)
		received += int(info.Segs_in)
		sent += int(info.Segs_out)
	}
	return received, sent
}
