package sockopt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/needed"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// wrapBehindProxy is a backend with Nagle's algorithm on that reads a PROXY
// protocol header.
var wrapBehindProxy = wrapping{"behind proxy_protocol", wrapNagle.lines + "\nproxy_protocol {\nallow 127.0.0.1/32\n}"}

// backendPath is one way from Caddy to a backend with Nagle's algorithm on. In
// its texts, BACKEND stands for the backend's address, PORT for its port, CERT
// for the file with its certificate, and HELPER for the address of helper.
type backendPath struct {
	name     string
	protocol protocol // of the backend
	wrapping wrapping // of the backend, default wrapNagle
	upstream string   // default BACKEND
	lines    string   // of the transport
	site     string   // further lines of the site
	helper   func(t *testing.T) (addr string)

	// sees is what the backend sees, by header of its response.
	sees map[string]string

	// flows says that transport http does not stall here either.
	flows bool
}

const trustBackend = "tls_trust_pool file CERT\n"

var backendPaths = []backendPath{
	{name: "HTTP/1.1", protocol: protocolPlain, sees: map[string]string{"Proto": "HTTP/1.1"}},
	{name: "timeouts", protocol: protocolPlain, lines: "read_timeout 20s\nwrite_timeout 20s"},
	{name: "read timeout", protocol: protocolPlain, lines: "read_timeout 20s"},
	{name: "write timeout", protocol: protocolPlain, lines: "write_timeout 20s"},
	{name: "local address", protocol: protocolPlain, lines: "local_address 127.0.0.2", sees: map[string]string{"Remote": "127.0.0.2"}},
	{name: "resolvers", protocol: protocolPlain, upstream: "backend.test:PORT", lines: "resolvers HELPER", helper: resolver},
	{
		name: "network proxy", protocol: protocolPlain, lines: "network_proxy url http://HELPER",
		site: "request_header Host BACKEND", helper: forwardProxy, sees: map[string]string{"Proxied": "yes"}, flows: true,
	},
	{
		name: "proxy_protocol", protocol: protocolPlain, wrapping: wrapBehindProxy, lines: "proxy_protocol v1",
		site: "vars client_ip 192.0.2.7", sees: map[string]string{"Remote": "192.0.2.7"},
	},
	{name: "no keep-alive", protocol: protocolPlain, lines: "keepalive off", flows: true},

	{name: "TLS", protocol: protocolTLS, lines: trustBackend + "versions 1.1", sees: map[string]string{"Proto": "HTTP/1.1", "Name": ""}},
	{name: "TLS and timeouts", protocol: protocolTLS, lines: trustBackend + "versions 1.1\nread_timeout 20s\nwrite_timeout 20s"},
	{
		name: "TLS and a server name", protocol: protocolTLS, lines: trustBackend + "versions 1.1\ntls_server_name example.com",
		sees: map[string]string{"Name": "example.com"},
	},
	{
		name: "TLS and a placeholder", protocol: protocolTLS, lines: trustBackend + "versions 1.1\ntls_timeout 20s\ntls_server_name {vars.name}",
		site: "vars name example.com", sees: map[string]string{"Proto": "HTTP/1.1", "Name": "example.com"},
	},
	{
		name: "TLS, a placeholder and timeouts", protocol: protocolTLS,
		lines: trustBackend + "versions 1.1\nread_timeout 20s\nwrite_timeout 20s\ntls_server_name {vars.name}",
		site:  "vars name example.com", sees: map[string]string{"Name": "example.com"},
	},
	{
		name: "TLS and proxy_protocol", protocol: protocolTLS, wrapping: wrapBehindProxy,
		lines: trustBackend + "versions 1.1\nproxy_protocol v2\ntls_server_name example.com",
		site:  "vars client_ip 192.0.2.7", sees: map[string]string{"Proto": "HTTP/1.1", "Name": "example.com", "Remote": "192.0.2.7"},
	},

	{name: "HTTP/2", protocol: protocolTLS, lines: trustBackend, sees: map[string]string{"Proto": "HTTP/2.0"}},
	{
		name: "HTTP/2 and a placeholder", protocol: protocolTLS, lines: trustBackend + "tls_server_name {vars.name}",
		site: "vars name example.com", sees: map[string]string{"Proto": "HTTP/2.0", "Name": "example.com"},
	},
	{
		name: "HTTP/2 and proxy_protocol", protocol: protocolTLS, wrapping: wrapBehindProxy,
		lines: trustBackend + "proxy_protocol v2\ntls_server_name example.com",
		site:  "vars client_ip 192.0.2.7", sees: map[string]string{"Proto": "HTTP/2.0", "Remote": "192.0.2.7"},
	},
	{name: "h2c", protocol: protocolH2C, upstream: "h2c://BACKEND", sees: map[string]string{"Proto": "HTTP/2.0"}},
	{name: "h2c and timeouts", protocol: protocolH2C, lines: "versions h2c\nread_timeout 20s", sees: map[string]string{"Proto": "HTTP/2.0"}},
}

// Whatever the path to a backend with Nagle's algorithm on, the options are set
// on the connection, the backend sees what it sees with transport http, and
// nobody waits for a delayed ACK.
func TestPathsToBackends(t *testing.T) {
	const (
		warmUp   = 10 // the kernel acknowledges a connection's first segments at once
		requests = 11
	)
	for _, path := range backendPaths {
		t.Run(path.name, func(t *testing.T) {
			c, addrs, peer := path.serve(t)
			forEach(t, addrs, func(t *testing.T, addr string) {
				client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: patience}
				defer client.CloseIdleConnections()
				times := make([]float64, 0, requests)
				for i := range warmUp + requests {
					begin := time.Now()
					path.ask(t, client, addr)
					if i >= warmUp {
						times = append(times, time.Since(begin).Seconds())
					}
				}
				median := time.Duration(quantile(times, 0.5) * float64(time.Second))
				t.Logf("median %v", median)
				if addr == addrs["http"] && !path.flows {
					require.Greater(t, median, 30*time.Millisecond)
				} else {
					require.Less(t, median, 10*time.Millisecond)
				}
			})
			shown := c.inUse()
			require.Positive(t, shown.Counters.Connections)
			require.Zero(t, shown.Counters.Unreachable)
			require.Empty(t, shown.Counters.Refused)
			if !path.flows {
				require.GreaterOrEqual(t, shown.Counters.Acknowledged, uint64(requests))
				require.Contains(t, userTimeouts(t, peer), int(20*time.Second/time.Millisecond))
			}
			require.Empty(t, c.warnings())
		})
	}
}

// serve runs the backend and a site for each of the transports. It returns their
// addresses, and the one that they dial.
func (p backendPath) serve(t *testing.T) (c *running, addrs map[string]string, dialed string) {
	t.Helper()
	var l lineup
	if p.wrapping.name == "" {
		p.wrapping = wrapNagle
	}
	after := newCapture(t)
	p.wrapping.lines += "\n" + after.directive
	backend := l.add(t, p.wrapping, p.protocol, "header Proto {http.request.proto}\nheader Remote {remote_host}\n"+
		"header Name \"{http.request.tls.server_name}\"\necho_payload")
	_, port, err := net.SplitHostPort(backend.addr)
	require.NoError(t, err)
	dialed = backend.addr
	helper := ""
	if p.helper != nil {
		helper = p.helper(t)
	}
	if p.flows {
		dialed = helper
	}
	if p.upstream == "" {
		p.upstream = "BACKEND"
	}
	addrs = make(map[string]string)
	for _, transport := range transports {
		options := ""
		if transport == "sockopt" {
			options = "socket {\nuser_timeout 20s\n}\n"
		}
		lines := fmt.Sprintf("%s\nreverse_proxy %s {\ntransport %s {\n%s\n%s}\n}", p.site, p.upstream, transport, p.lines, options)
		lines = strings.NewReplacer("BACKEND", backend.addr, "PORT", port, "CERT", l.cert, "HELPER", helper).Replace(lines)
		addrs[transport] = l.add(t, wrapStock, protocolPlain, lines).addr
	}
	c = l.run(t)
	after.loaded()
	return c, addrs, dialed
}

// ask fetches the payload and checks what the backend saw.
func (p backendPath) ask(t *testing.T, client *http.Client, addr string) {
	t.Helper()
	resp, err := client.Get("http://" + addr)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.True(t, bytes.Equal(stars, body))
	for header, want := range p.sees {
		require.Equal(t, want, resp.Header.Get(header), header)
	}
}

// userTimeouts returns the TCP_USER_TIMEOUT of every connection of this process
// to an address.
func userTimeouts(t *testing.T, addr string) (all []int) {
	t.Helper()
	const tcpUserTimeout = 18
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		require.NoError(t, err)
		peer, err := syscall.Getpeername(fd)
		if err != nil {
			continue
		}
		var is net.TCPAddr
		switch peer := peer.(type) {
		case *syscall.SockaddrInet4:
			is = net.TCPAddr{IP: peer.Addr[:], Port: peer.Port}
		case *syscall.SockaddrInet6:
			is = net.TCPAddr{IP: peer.Addr[:], Port: peer.Port}
		}
		if is.String() != addr {
			continue
		}
		timeout, err := syscall.GetsockoptInt(fd, syscall.IPPROTO_TCP, tcpUserTimeout)
		require.NoError(t, err)
		all = append(all, timeout)
	}
	return all
}

// resolver is a DNS server that knows every name as 127.0.0.1.
func resolver(t *testing.T) (addr string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if message.Unpack(buf[:n]) != nil || len(message.Questions) == 0 {
				continue
			}
			message.Header.Response = true
			message.Additionals = nil
			if question := message.Questions[0]; question.Type == dnsmessage.TypeA {
				message.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 60},
					Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
				}}
			}
			answer, err := message.Pack()
			if err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

// forwardProxy is an HTTP proxy, which the client tells the whole URL.
func forwardProxy(t *testing.T) (addr string) {
	t.Helper()
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(*httputil.ProxyRequest) {},
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Set("Proxied", "yes")
			return nil
		},
		Transport: &http.Transport{DisableKeepAlives: true},
	})
	t.Cleanup(proxy.Close)
	return proxy.Listener.Addr().String()
}

// TestWebSockets has an upgraded connection carry bytes both ways, and a backend
// with Nagle's algorithm on answer each message in two pieces.
func TestWebSockets(t *testing.T) {
	const (
		warmUp   = 10
		messages = 21
	)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		if tcp, ok := socket.TCPConn(conn); ok {
			_ = tcp.SetNoDelay(false)
		}
		send(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for {
			message, err := rw.ReadString('\n')
			if err != nil {
				send(conn, "bye")
				return
			}
			send(conn, message[:3])
			send(conn, message[3:])
		}
	})
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			backend := httptest.NewUnstartedServer(handler)
			defer backend.Close()
			lines := "read_timeout 20s"
			if secure {
				// HTTP/2 would not do: the transport has to ask for less.
				backend.EnableHTTP2 = true
				backend.StartTLS()
				lines = "tls_insecure_skip_verify\ntls_server_name {http.request.host}"
			} else {
				backend.Start()
			}
			_, addrs := forward(t, backend.Listener.Addr().String(), lines, "")
			forEach(t, addrs, func(t *testing.T, addr string) {
				conn, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
				send(conn, "GET / HTTP/1.1\r\nHost: "+addr+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				reader := bufio.NewReader(conn)
				resp, err := http.ReadResponse(reader, nil)
				require.NoError(t, err)
				require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
				times := make([]float64, 0, messages)
				for i := range warmUp + messages {
					message := fmt.Sprintf("message %d\n", i)
					begin := time.Now()
					send(conn, message)
					echo, err := reader.ReadString('\n')
					require.NoError(t, err)
					require.Equal(t, message, echo)
					if i >= warmUp {
						times = append(times, time.Since(begin).Seconds())
					}
				}
				if addr == addrs["http"] {
					require.Greater(t, quantile(times, 0.5), 0.030)
				} else {
					require.Less(t, quantile(times, 0.5), 0.010)
				}
				if !secure {
					require.NoError(t, conn.(*net.TCPConn).CloseWrite())
					rest, err := io.ReadAll(reader)
					require.NoError(t, err)
					require.Equal(t, "bye", string(rest))
				}
			})
		})
	}
}

// TestTransportCounts counts what quickack costs towards backends that need none
// of it: system calls on the connections to them, and segments both ways. With -v
// it logs the table that the README shows.
func TestTransportCounts(t *testing.T) {
	const requests = 500
	var l lineup
	measured := make([]*counted, 0, 24)
	for _, payload := range []int{1000, len(stars)} {
		for _, p := range []string{"HTTP/1.1", "TLS", "HTTP/2", "h2c"} {
			for _, transport := range []string{"http", "sockopt", "on"} {
				m := countBackend(t, p, payload)
				m.transport = transport
				lines := m.lines
				if transport == "on" {
					transport = "sockopt"
					lines += "\nsocket {\nquickack on\n}"
				}
				m.site = l.add(t, wrapStock, protocolPlain, fmt.Sprintf("reverse_proxy %s {\ntransport %s {\n%s\n}\n}", m.addr, transport, lines))
				measured = append(measured, m)
			}
		}
	}
	ask := func(t *testing.T) {
		for _, m := range measured {
			m.forget()
			client := http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: patience}
			defer client.CloseIdleConnections()
			for range requests {
				resp, err := client.Get("http://" + m.site.addr)
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
	system := l.record(t, "setsockopt", ask)
	for _, m := range measured {
		_, port, err := net.SplitHostPort(m.addr)
		require.NoError(t, err)
		m.setsockopt = len(system.like(`^setsockopt\(\d+<TCP[^>]*->[^>]*:` + port + `\]?>`))
	}
	l.spawn(t)
	ask(t)

	perRequest := func(count int) string { return fmt.Sprintf("%.3f", float64(count)/requests) }
	table := markdown("to the backend over", "bytes", "transport", "`setsockopt`", "segments to it", "segments from it")
	stock := make(map[string]*counted)
	for _, m := range measured {
		table.row(m.protocol, strconv.Itoa(m.payload), m.transport, perRequest(m.setsockopt), perRequest(m.received), perRequest(m.sent))
		if m.transport == "http" {
			stock[fmt.Sprint(m.protocol, m.payload)] = m
		}
	}
	t.Logf("a request:\n\n%s", table)
	const few = requests / 50
	for _, m := range measured {
		if m.transport != "sockopt" {
			continue
		}
		// With HTTP/1.1 a response in one piece costs nothing, and one in two
		// pieces may cost one acknowledgement, if the second is late. With HTTP/2
		// nobody tells when a response has come to its end: each piece may cost one.
		most := 0
		switch {
		case strings.Contains(m.protocol, "2"):
			most = 2 * requests
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
	site      contender

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
		_, _ = w.Write(stars[:payload])
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

// python is the interpreter of Debian's Python packages.
const python = "/usr/bin/python3"

// sharePort has a Python server share the port that address keeps for it.
const sharePort = `
import runpy, socket, socketserver, sys

bind = socketserver.TCPServer.server_bind

def server_bind(self):
    self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bind(self)

socketserver.TCPServer.server_bind = server_bind
`

// paste starts examples/paste_server.py on addr.
func paste(t testing.TB, addr string, flags ...string) {
	t.Helper()
	if err := exec.Command(needed.Program(t, python), "-c", "import paste.httpserver").Run(); err != nil {
		needed.Missing(t, "python3-paste is not installed")
	}
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	const script = sharePort + `
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
`
	startServer(t, addr, python, append([]string{"-c", script, filepath.Join("examples", "paste_server.py"), port}, flags...)...)
}

// httpServer is Python's own server, which writes the header and the body of a
// response separately, too.
const httpServer = sharePort + `
import http.server

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = sys.argv[2:] == ["--nodelay"]

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", "10000")
        self.end_headers()
        self.wfile.write(b"*" * 10000)

    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
`

// pythonHTTP starts Python's own server on addr.
func pythonHTTP(t testing.TB, addr string, flags ...string) {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	startServer(t, addr, python, append([]string{"-c", httpServer, port}, flags...)...)
}

// startServer starts a server that listens on addr, and ends it with the test.
func startServer(t testing.TB, addr, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(needed.Program(t, name), args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("the output of %s:\n%s", cmd, output.String())
		}
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, patience, 10*time.Millisecond, "nobody listens")
}

// TestBackendsOf2009 proxies to servers that have Nagle's algorithm on. Through
// transport sockopt they serve 0.9 of what they serve without it, at the least.
// With -v it logs the table that the README shows.
//
// The figures are medians of measurements in turn: of as many as it takes on a
// machine that is busy with something else, within reason.
func TestBackendsOf2009(t *testing.T) {
	const atLeast, atMost = 5, 25
	for _, server := range []struct {
		name  string
		start func(t testing.TB, addr string, flags ...string)
	}{
		{"Paste", paste},
		{"http.server", pythonHTTP},
	} {
		t.Run(server.name, func(t *testing.T) {
			nagle, nodelay := address(t), address(t)
			server.start(t, nagle)
			server.start(t, nodelay, "--nodelay")
			var l lineup
			add := func(lines string) contender { return l.add(t, wrapStock, protocolPlain, "reverse_proxy "+lines) }
			contenders := []contender{
				add(nagle),
				add(nagle + " {\ntransport sockopt\n}"),
				add(nodelay),
			}
			l.spawn(t)
			for _, c := range contenders {
				require.NoError(t, get(t.Context(), http.DefaultClient, "http://"+c.addr))
			}

			table := markdown("client", "`transport http`", "`transport sockopt`", "`transport http`, TCP_NODELAY on the backend")
			for _, client := range []struct {
				name    string
				measure func(t *testing.T, c contender, stalls bool) float64
			}{
				{"httperf: one connection", func(t *testing.T, c contender, stalls bool) float64 {
					calls := 500
					if stalls {
						calls = 25
					}
					return httperf(t, []string{"--num-conns=1", fmt.Sprintf("--num-calls=%d", calls)}, calls, c.addr)
				}},
				{"wrk: 32 connections", func(t *testing.T, c contender, _ bool) float64 { return wrk32(t, c.addr) }},
			} {
				var rates [3][]float64
				median := func(i int) float64 { return quantile(rates[i], 0.5) }
				for round := range atMost {
					for i := range contenders {
						i = (i + round) % len(contenders)
						if i > 0 || round == 0 { // a timer does not vary
							rates[i] = append(rates[i], client.measure(t, contenders[i], i == 0))
						}
					}
					if round+1 >= atLeast && median(1) >= 0.9*median(2) {
						break
					}
				}
				table.row(client.name, perSecond(median(0)), perSecond(median(1)), perSecond(median(2)))
				t.Logf("%s: %.1f times transport http, %.3f of TCP_NODELAY on the backend (%d rounds)",
					client.name, median(1)/median(0), median(1)/median(2), len(rates[1]))
				// 50 times, unless Python is at its end before: with 32 connections that
				// wait 44 ms each, or beside the race detector.
				require.Greater(t, median(1), min(50*median(0), 0.8*median(2)))
				require.GreaterOrEqual(t, median(1), 0.9*median(2))
			}
			t.Logf("requests a second to %s:\n\n%s", server.name, table)
		})
	}
}

// TestBackendExample runs examples/backend.Caddyfile with its backend.
func TestBackendExample(t *testing.T) {
	here, at := moved(t, example(t, "backend.Caddyfile"))
	paste(t, "127.0.0.1"+at[":8092"])
	adapted, err := adapt(here)
	require.NoError(t, err)
	require.NoError(t, caddy.Load(adapted, true))
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	rates := make(map[string]float64)
	for port, calls := range map[string]int{":8090": 100, ":8091": 100, ":8093": 25} {
		rates[port] = httperf(t, []string{"--num-conns=1", fmt.Sprintf("--num-calls=%d", calls)}, calls, "127.0.0.1"+at[port])
	}
	require.Less(t, rates[":8093"], 40.0)
	require.Greater(t, rates[":8090"], 10*rates[":8093"])
	require.Greater(t, rates[":8091"], 10*rates[":8093"])
}

// wrk32 measures with wrk, which checks what comes, over 32 connections.
func wrk32(t *testing.T, addr string) (rate float64) {
	t.Helper()
	output := play(t, nil, "wrk", "--threads=1", "--connections=32", "--duration=1s", "http://"+addr+"/")
	require.NotContains(t, output, "Non-2xx")
	require.NotRegexp(t, `(connect|read|write) [1-9]`, output)
	return figure(t, output, `Requests/sec: +(\S+)`)
}

// TestFaultsOfBackendsLeaveNothing sends requests to backends of which most
// misbehave.
func TestFaultsOfBackendsLeaveNothing(t *testing.T) {
	requests := inLong(10_000, 200_000)
	var served atomic.Int64
	response := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(stars), stars)
	misbehave := []func(*net.TCPConn){
		resetTCP,
		func(c *net.TCPConn) { send(c, "garbage\r\n\r\n") },
		func(c *net.TCPConn) { send(c, response[:30]) },
		func(c *net.TCPConn) { send(c, response[:5000]) },
		func(c *net.TCPConn) {
			send(c, response[:5000])
			resetTCP(c)
		},
		func(c *net.TCPConn) {
			send(c, response)
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		},
		func(c *net.TCPConn) { send(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n") },
	}
	backend := serveTCP(t, func(conn *net.TCPConn) {
		reader := bufio.NewReader(conn)
		for {
			if _, err := http.ReadRequest(reader); err != nil {
				return
			}
			if n := served.Add(1); n%3 == 0 {
				misbehave[int(n/3)%len(misbehave)](conn)
				return
			}
			send(conn, response)
		}
	})
	site := address(t)
	run(t, "", fmt.Sprintf("http://%s {\nreverse_proxy %s {\ntransport sockopt {\nread_timeout 10s\nkeepalive 100ms\n}\n}\n}", site, backend))
	rest := atRest()

	const clients = 16
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Timeout: patience}
	var whole, broken, refused atomic.Int64
	var going sync.WaitGroup
	for range clients {
		going.Go(func() {
			for range requests / clients {
				resp, err := client.Get("http://" + site)
				if err != nil {
					broken.Add(1)
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case resp.StatusCode == http.StatusBadGateway:
					refused.Add(1)
				case err != nil:
					broken.Add(1)
				case bytes.Equal(stars, body):
					whole.Add(1)
				}
			}
		})
	}
	going.Wait()
	client.CloseIdleConnections()
	t.Logf("%d whole, %d broken, %d refused", whole.Load(), broken.Load(), refused.Load())
	require.EqualValues(t, requests, whole.Load()+broken.Load()+refused.Load())
	require.Greater(t, whole.Load(), int64(requests/2))
	require.Greater(t, broken.Load(), int64(requests/20))
	require.Greater(t, refused.Load(), int64(requests/20))
	rest.await(t)
}

// TestFaultBackendDisappears has a backend go away under load, and come back.
func TestFaultBackendDisappears(t *testing.T) {
	addr := address(t)
	_, addrs := forward(t, addr, "", "")
	start := func() *http.Server {
		ln, err := reusingPort.Listen(t.Context(), "tcp", addr)
		require.NoError(t, err)
		server := &http.Server{
			Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(stars) }),
			ReadHeaderTimeout: patience,
		}
		go func() { _ = server.Serve(ln) }()
		return server
	}
	forEach(t, addrs, func(t *testing.T, addr string) {
		client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: patience}
		defer client.CloseIdleConnections()
		var statuses [600]atomic.Int64
		var wrong atomic.Value
		ask := func() {
			resp, err := client.Get("http://" + addr)
			if err != nil {
				wrong.Store(err.Error())
				return
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode == http.StatusOK && err == nil && !bytes.Equal(stars, body) {
				wrong.Store("a wrong payload")
			}
			statuses[resp.StatusCode].Add(1)
		}
		more := func(status int) {
			t.Helper()
			enough := statuses[status].Load() + 100
			require.Eventually(t, func() bool { return statuses[status].Load() >= enough }, patience, time.Millisecond)
		}
		stopped := make(chan struct{})
		var going sync.WaitGroup
		for range 8 {
			going.Go(func() {
				for {
					select {
					case <-stopped:
						return
					default:
						ask()
					}
				}
			})
		}
		for range inLong(3, 100) {
			server := start()
			more(http.StatusOK)
			server.Close()
			more(http.StatusBadGateway)
		}
		close(stopped)
		going.Wait()
		require.Nil(t, wrong.Load())
		for status := range statuses {
			if n := statuses[status].Load(); n > 0 {
				require.Contains(t, []int{http.StatusOK, http.StatusBadGateway}, status)
			}
		}
	})
}

// reusingPort listens where address keeps a port.
var reusingPort = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
	controlErr := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1)
	})
	return errors.Join(controlErr, err)
}}
