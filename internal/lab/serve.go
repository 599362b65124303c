package lab

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ServeStars serves the payload in this process, over HTTP/1.1 and h2c, some time after
// each request.
func ServeStars(takes time.Duration) *httptest.Server {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(takes) // the server's work
		w.Header().Set("Content-Length", strconv.Itoa(len(Stars)))
		_, _ = w.Write(Stars) // the client may have gone
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	return server
}

// Serving is what a server other than Caddy does.
type Serving struct {
	Addr        string // where it serves Root
	TLSAddr     string // where it does so over TLS
	Root        string // directory with index.html
	Certificate string // file with a certificate and its key
	Proxies     []Proxy
}

// Proxy is an address from which a server forwards to a backend.
type Proxy struct {
	Addr, Backend string
	TLS           bool // on the address
}

// Descriptors is how many files a server may have open.
const Descriptors = 1 << 16

// NginxCommand writes a configuration into dir and returns the command that serves it.
// nginx keeps its connections to backends, which it doesn't by itself.
func NginxCommand(dir string, s Serving) (command []string, err error) {
	var servers strings.Builder
	if s.Addr != "" {
		fmt.Fprintf(&servers, "\tserver { listen %s; }\n", s.Addr)
	}
	if s.TLSAddr != "" {
		fmt.Fprintf(&servers, "\tserver { listen %s ssl http2; ssl_certificate %s; ssl_certificate_key %[2]s; }\n", s.TLSAddr, s.Certificate)
	}
	for i, p := range s.Proxies {
		listen := p.Addr + ";"
		if p.TLS {
			listen = fmt.Sprintf("%s ssl http2; ssl_certificate %s; ssl_certificate_key %[2]s;", p.Addr, s.Certificate)
		}
		fmt.Fprintf(&servers, `	upstream backend%[1]d { server %[3]s; keepalive 64; keepalive_requests 100000000; }
	server {
		listen %[2]s
		location / { proxy_pass http://backend%[1]d; proxy_http_version 1.1; proxy_set_header Connection ""; }
	}
`, i, listen, p.Backend)
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	text := fmt.Sprintf(`daemon off;
pid %[1]s/pid;
%[2]s
worker_processes auto;
worker_rlimit_nofile %[3]d;
events { worker_connections %[3]d; }
http {
	access_log off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	sendfile on;
	keepalive_requests 100000000;
	keepalive_timeout 300s;
	types { text/plain txt; }
	root %[4]s;
%[5]s}
`, dir, user, Descriptors, s.Root, &servers)
	file := filepath.Join(dir, "nginx.conf")
	return []string{"nginx", "-e", "stderr", "-c", file}, os.WriteFile(file, []byte(text), 0o600)
}

// HAProxyCommand writes a configuration into dir and returns the command that serves it.
// HAProxy serves no files: it returns Root's index.html from memory. It may have more
// connections than half of its descriptors, since idle clients have no server.
//
// It has one thread, because each thread has connections to the backend of its own, and
// before a backend that stalls only some requests then wait.
func HAProxyCommand(dir string, s Serving) (command []string, err error) {
	var sections strings.Builder
	frontend := func(name, bind string) {
		fmt.Fprintf(&sections, "frontend %s\n\tbind %s\n\thttp-request return status 200 content-type text/plain file %s\n",
			name, bind, filepath.Join(s.Root, "index.html"))
	}
	if s.Addr != "" {
		frontend("plain", s.Addr)
	}
	if s.TLSAddr != "" {
		frontend("secure", s.TLSAddr+" ssl crt "+s.Certificate+" alpn h2,http/1.1")
	}
	for i, p := range s.Proxies {
		bind := p.Addr
		if p.TLS {
			bind += " ssl crt " + s.Certificate + " alpn h2,http/1.1"
		}
		fmt.Fprintf(&sections, "listen proxy%d\n\tbind %s\n\thttp-reuse always\n\tserver backend %s\n", i, bind, p.Backend)
	}
	text := fmt.Sprintf(`global
	no strict-limits
	nbthread 1
	maxconn %d
	tune.bufsize 32768
defaults
	mode http
	option http-keep-alive
	timeout connect 10s
	timeout client 300s
	timeout server 300s
	timeout http-keep-alive 300s
%s`, Descriptors*3/5, &sections)
	file := filepath.Join(dir, "haproxy.cfg")
	return []string{"haproxy", "-db", "-f", file}, os.WriteFile(file, []byte(text), 0o600)
}

// Nginx serves the payload on an address of Address until the test ends.
func Nginx(t testing.TB, addr string) { serveStars(t, addr, NginxCommand) }

// HAProxy serves the payload on an address of Address until the test ends.
func HAProxy(t testing.TB, addr string) { serveStars(t, addr, HAProxyCommand) }

func serveStars(t testing.TB, addr string, configure func(string, Serving) ([]string, error)) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.html"), Stars, 0o600))
	command, err := configure(dir, Serving{Addr: addr, Root: dir})
	require.NoError(t, err)
	Serve(t, addr, command[0], command[1:]...)
}

// Python is the interpreter of Debian's Python packages.
const Python = "/usr/bin/python3"

// PasteInstalled reports whether Python has Paste.
func PasteInstalled() bool {
	return exec.CommandContext(context.Background(), Python, "-c", "import paste.httpserver").Run() == nil
}

// Paste starts examples/paste_server.py, the server of 2009, on an address of Address.
func Paste(t testing.TB, addr string, flags ...string) {
	t.Helper()
	OtherProcess(t)
	Require(t, Python)
	if !PasteInstalled() {
		Missing(t, "python3-paste is not installed")
	}
	Serve(t, addr, Python, append([]string{filepath.Join(Root(), "examples", "paste_server.py"), PortOf(addr)}, flags...)...)
}

// httpServer is Python's own server, which writes the header and the body of a response
// separately, too.
const httpServer = `
import http.server, sys

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

// PythonHTTP starts Python's own server on an address of Address.
func PythonHTTP(t testing.TB, addr string, flags ...string) {
	t.Helper()
	Serve(t, addr, Python, append([]string{"-c", httpServer, PortOf(addr)}, flags...)...)
}

// ticketServer answers a request over each connection, over TLS and with Nagle's algorithm
// on. OpenSSL sends session tickets when the handshake is done; the response, which is one
// write, follows them.
const ticketServer = `
import socket, ssl, sys

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
while True:
    tcp, _ = listener.accept()
    try:
        with context.wrap_socket(tcp, server_side=True) as conn:
            conn.recv(65536)
            conn.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10000\r\n\r\n" + 10000 * b"*")
            conn.recv(1)
    except OSError:
        pass
`

// TicketServerCommand returns the command of a TLS backend that sends tickets, then a
// response to each new connection, and so waits for an acknowledgement in between.
func TicketServerCommand(addr, certificate string) (command []string) {
	return []string{Python, "-c", ticketServer, PortOf(addr), certificate}
}

// Serve starts a server that listens on addr, and ends it with the test.
func Serve(t testing.TB, addr, program string, args ...string) {
	t.Helper()
	OtherProcess(t)
	p, err := Start(Command(context.Background(), Require(t, program), args...))
	require.NoError(t, err)
	t.Cleanup(func() {
		p.End()
		if t.Failed() {
			t.Logf("the output of %s:\n%s", p, p.Printed())
		}
	})
	require.NoError(t, p.Await("it listened", func() bool { return Answers(addr) }))
}

// Root is the directory of the module, where the examples are.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}
