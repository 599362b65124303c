package sockopt

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/needed"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// way is one way for a client to reach a server through sockopt.
type way struct {
	name     string
	wrappers string // lines of listener_wrappers; SOCKOPT stands for ours
	servers  string // further lines of servers
	site     string // the site's address; default http://127.0.0.1:PORT
	lines    string // of the site
	dial     string // the client's target; default 127.0.0.1:PORT
	tls      bool
	proto    string // default HTTP/1.1
	header   string // what the client sends first: a PROXY header
	remote   string // whom the server sees; default 127.0.0.1

	// late says that others have wrapped the connection before sockopt.
	late bool
}

const (
	proxyProtocol = "proxy_protocol {\ntimeout 1h\nallow 127.0.0.1/32\n}\n"
	proxyHeader   = "PROXY TCP4 192.0.2.7 127.0.0.1 56324 443\r\n"
)

var ways = []way{
	{name: "HTTP/1.1", wrappers: "SOCKOPT"},
	{name: "h2c", wrappers: "SOCKOPT", servers: "protocols h1 h2c", proto: "HTTP/2.0"},
	{name: "HTTP/1.1 where h2c is on", wrappers: "SOCKOPT", servers: "protocols h1 h2c"},
	{name: "HTTP/1.1 alone", wrappers: "SOCKOPT", servers: "protocols h1"},
	{name: "h2c alone", wrappers: "SOCKOPT", servers: "protocols h2c", proto: "HTTP/2.0"},

	{name: "HTTP/1.1 over TLS", wrappers: "SOCKOPT\ntls", tls: true},
	{name: "HTTP/2 over TLS", wrappers: "SOCKOPT\ntls", tls: true, proto: "HTTP/2.0"},
	{name: "HTTP/1.1 alone over TLS", wrappers: "SOCKOPT\ntls", servers: "protocols h1", tls: true},
	{name: "HTTP/2 alone over TLS", wrappers: "SOCKOPT\ntls", servers: "protocols h2", tls: true, proto: "HTTP/2.0"},
	{name: "HTTP/1.1 after tls", wrappers: "SOCKOPT", tls: true, late: true},
	{name: "HTTP/2 after tls", wrappers: "SOCKOPT", tls: true, proto: "HTTP/2.0", late: true},
	{name: "HTTP/1.1 alone after tls", wrappers: "SOCKOPT", servers: "protocols h1", tls: true, late: true},
	{name: "HTTP/2 alone after tls", wrappers: "SOCKOPT", servers: "protocols h2", tls: true, proto: "HTTP/2.0", late: true},

	{name: "before proxy_protocol", wrappers: "SOCKOPT\n" + proxyProtocol, header: proxyHeader, remote: "192.0.2.7"},
	{name: "before proxy_protocol and tls", wrappers: "SOCKOPT\n" + proxyProtocol + "tls", tls: true, proto: "HTTP/2.0", header: proxyHeader, remote: "192.0.2.7"},
	{name: "after proxy_protocol", wrappers: proxyProtocol + "SOCKOPT", header: proxyHeader, remote: "192.0.2.7", late: true},
	{name: "between proxy_protocol and tls", wrappers: proxyProtocol + "SOCKOPT\ntls", tls: true, header: proxyHeader, remote: "192.0.2.7", late: true},
	{name: "after proxy_protocol and tls", wrappers: proxyProtocol + "tls\nSOCKOPT", tls: true, proto: "HTTP/2.0", header: proxyHeader, remote: "192.0.2.7", late: true},

	{name: "before http_redirect", wrappers: "SOCKOPT\nhttp_redirect\ntls", tls: true},
	{name: "after http_redirect", wrappers: "http_redirect\nSOCKOPT\ntls", tls: true, late: true},

	{name: "IPv6", wrappers: "SOCKOPT", site: "http://[::1]:PORT", dial: "[::1]:PORT", remote: "::1"},
	{name: "IPv4 client of a wildcard", wrappers: "SOCKOPT", site: "http://:PORT"},
	{name: "IPv6 client of a wildcard", wrappers: "SOCKOPT", site: "http://:PORT", dial: "[::1]:PORT", remote: "::1"},
	{name: "inherited socket", wrappers: "SOCKOPT", site: "http://:PORT", lines: "bind fd/FD"},
}

// serve runs a Caddy that is reached in this way, with the given sockopt block,
// and returns its client, and what Accept and the listening sockets were.
func (w way) serve(t testing.TB, block string) (caddy *running, client *http.Client, after *capture) {
	t.Helper()
	port := fmt.Sprint(port(t))
	site, dial, lines := w.site, w.dial, w.lines
	if site == "" {
		site = "http://127.0.0.1:PORT"
	}
	if dial == "" {
		dial = "127.0.0.1:PORT"
	}
	if strings.Contains(site+dial, "::1") {
		needIPv6(t)
	}
	transport := &http.Transport{MaxConnsPerHost: 1, Protocols: new(http.Protocols)}
	t.Cleanup(transport.CloseIdleConnections)
	scheme := "http"
	if w.tls {
		cert, key, roots := certificate(t)
		scheme, site = "https", "https://localhost:PORT"
		lines += fmt.Sprintf("\nbind 127.0.0.1\ntls %s %s", cert, key)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	switch {
	case w.proto != "HTTP/2.0":
		transport.Protocols.SetHTTP1(true)
	case w.tls:
		transport.Protocols.SetHTTP2(true)
	default:
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	if strings.Contains(lines, "FD") {
		var fd int
		fd, dial = inherited(t)
		lines = strings.ReplaceAll(lines, "FD", fmt.Sprint(fd))
	}
	dial = strings.ReplaceAll(dial, "PORT", port)
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialInPieces(ctx, dial, w.header)
	}

	after = newCapture(t)
	wrappers := strings.ReplaceAll(w.wrappers, "SOCKOPT", block+"\n"+after.directive)
	caddy = run(t, fmt.Sprintf("servers {\nlistener_wrappers {\n%s\n}\n%s\n}", wrappers, w.servers),
		fmt.Sprintf("%s {\n%s\nheader Remote {remote_host}\necho_payload 100\n}", strings.ReplaceAll(site, "PORT", port), lines))
	after.loaded()
	host := dial
	if w.tls {
		host = "localhost:" + port
	}
	transport.RegisterProtocol("way", roundTripperFunc(func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = scheme, host
		return transport.RoundTrip(r)
	}))
	return caddy, &http.Client{Transport: transport, Timeout: patience}, after
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// get makes one request in this way and checks the answer.
func (w way) get(t testing.TB, client *http.Client) {
	t.Helper()
	resp, err := client.Get("way:///")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, strings.Repeat("*", 100), string(body))
	want := w.proto
	if want == "" {
		want = "HTTP/1.1"
	}
	require.Equal(t, want, resp.Proto)
	want = w.remote
	if want == "" {
		want = "127.0.0.1"
	}
	require.Equal(t, want, resp.Header.Get("Remote"))
}

func TestOptionsAreSetEveryWay(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			_, client, after := w.serve(t, "sockopt {\nnodelay off\nrecv_buffer 64KiB\nsend_buffer 96KiB\n}")
			w.get(t, client)

			conn := after.conn(t)
			tcp, ok := socket.TCPConn(conn)
			require.True(t, ok, "no socket in %T", conn)
			requireOptions(t, tcp,
				to(socket.NoDelay, 0),
				to(socket.RecvBuffer, 2*64<<10),
				to(socket.SendBuffer, 2*96<<10))
			ln, ok := socket.TCPListener(after.listener(t))
			if !w.late {
				require.True(t, ok, "no listening socket in %T", after.listener(t))
				requireOptions(t, ln,
					to(socket.RecvBuffer, 2*64<<10),
					to(socket.SendBuffer, 2*96<<10))
			}
			require.Zero(t, after.report(t).errors())
		})
	}
}

// requireOptions reads options back: the kernel doubles a buffer (socket(7)).
func requireOptions(t testing.TB, c syscall.Conn, want ...socket.Setting) {
	t.Helper()
	for _, s := range want {
		got, err := socket.Get(c, s.Option)
		require.NoError(t, err, s.Option.Name)
		require.Equal(t, s.Value, got, s.Option.Name)
	}
}

const lateWarning = "quickack and metrics have no effect here: list sockopt first among the listener wrappers, and tls after it"

func TestQuickAckEveryWay(t *testing.T) {
	for _, mode := range []socket.AckMode{socket.AckAuto, socket.AckOn, socket.AckOff} {
		for _, w := range ways {
			t.Run(fmt.Sprintf("%s/%s", mode, w.name), func(t *testing.T) {
				block := "sockopt"
				if mode != socket.AckAuto {
					block = fmt.Sprintf("sockopt {\nquickack %s\n}", mode)
				}
				caddy, client, after := w.serve(t, block)
				w.get(t, client)
				conn := after.conn(t)
				switch {
				case w.late:
					require.NotContains(t, fmt.Sprintf("%T", conn), "socket.Conn")
				default:
					require.IsType(t, (*socket.Conn)(nil), conn)
				}
				if strings.HasSuffix(w.wrappers, "tls\nSOCKOPT") {
					require.IsType(t, (*tls.Conn)(nil), conn)
				}
				switch {
				case mode != socket.AckOff && !w.late:
					require.Less(t, w.median(t, client), 10*time.Millisecond)
				case mode == socket.AckOff && w.name == "HTTP/1.1", mode == socket.AckAuto && w.name == "after proxy_protocol":
					// A request in pieces does stall where nothing prevents it.
					require.Greater(t, w.median(t, client), 30*time.Millisecond)
				}
				warnings := 0
				if w.late && mode != socket.AckOff {
					client.CloseIdleConnections()
					w.get(t, client) // a second connection, and no second warning
					warnings = 1
				}
				require.Equal(t, warnings, strings.Count(caddy.log(), lateWarning))
				require.Zero(t, after.report(t).errors())
				if w.late {
					require.Equal(t, "off", caddy.status(t).Listeners[0].QuickAck, "what is in effect")
				}
			})
		}
	}
}

// median is how long a request in pieces takes. The kernel acknowledges the first
// segments of a connection at once, hence the requests to warm up.
func (w way) median(t testing.TB, client *http.Client) time.Duration {
	t.Helper()
	for range 20 {
		w.get(t, client)
	}
	took := make([]time.Duration, 11)
	for i := range took {
		start := time.Now()
		w.get(t, client)
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// dialInPieces connects a client under Nagle's algorithm that sends whatever it
// has in two pieces: the second waits until the first is acknowledged.
func dialInPieces(ctx context.Context, addr, header string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := conn.(*net.TCPConn).SetNoDelay(false); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, header); err != nil {
		return nil, err
	}
	return inPieces{conn}, nil
}

type inPieces struct{ net.Conn }

func (c inPieces) Write(p []byte) (int, error) {
	half := (len(p) + 1) / 2
	n, err := c.Conn.Write(p[:half])
	if err != nil || half == len(p) {
		return n, err
	}
	m, err := c.Conn.Write(p[half:])
	return n + m, err
}

// inherited returns a listening socket as a parent process would leave it. Caddy
// keeps the descriptor for as long as the process lives.
func inherited(t testing.TB) (fd int, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	defer file.Close()
	fd, err = syscall.Dup(int(file.Fd()))
	require.NoError(t, err)
	syscall.CloseOnExec(fd)
	return fd, ln.Addr().String()
}

func needIPv6(t testing.TB) {
	t.Helper()
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		needed.Missing(t, fmt.Sprintf("no IPv6 here: %v", err))
	}
	ln.Close()
}

func TestListeningSocketRaisesFirstWindow(t *testing.T) {
	window := func(block string) (offered, seen uint32) {
		after := newCapture(t)
		addr := address(t)
		run(t, wrappers(block+"\n"+after.directive), "http://"+addr+" {\necho_payload 100\n}")
		client, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer client.Close()
		ask(t, client, request)
		tcp, ok := socket.TCPConn(after.conn(t))
		require.True(t, ok)
		server, err := socket.Info(tcp)
		require.NoError(t, err)
		info, err := socket.Info(client.(*net.TCPConn))
		require.NoError(t, err)
		return server.Rcv_space, info.Snd_wnd
	}
	stockOffered, stockSeen := window("")
	offered, seen := window("sockopt {\nrecv_buffer 1MiB\n}")
	require.Greater(t, offered, 2*stockOffered, "rcv_space of the server")
	require.Greater(t, seen, 2*stockSeen, "snd_wnd of the client")
}

// A request for a site on 127.0.0.1.
const (
	requestLine = "GET / HTTP/1.1\r\n"
	requestRest = "Host: 127.0.0.1\r\n\r\n"
	request     = requestLine + requestRest
)

// ask sends what makes a request complete and reads a payload of 100 bytes.
func ask(t testing.TB, conn net.Conn, request string) {
	t.Helper()
	_, err := io.WriteString(conn, request)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("*", 100), string(body))
}

func TestMPTCPClientIsServed(t *testing.T) {
	for _, mode := range []socket.AckMode{socket.AckAuto, socket.AckOn, socket.AckOff} {
		t.Run(string(mode), func(t *testing.T) {
			after := newCapture(t)
			addr := address(t)
			block := fmt.Sprintf("sockopt {\nnodelay off\nquickack %s\n}\n", mode)
			caddy := run(t, wrappers(block+after.directive), "http://"+addr+" {\necho_payload 100\n}")
			var dialer net.Dialer
			dialer.SetMultipathTCP(true)
			const conns = 3
			for i := range conns {
				client, err := dialer.Dial("tcp", addr)
				require.NoError(t, err)
				defer client.Close()
				if multipath, err := client.(*net.TCPConn).MultipathTCP(); err != nil || !multipath {
					needed.Missing(t, fmt.Sprintf("no MPTCP here (%v)", err))
				}
				_, err = io.WriteString(client, requestLine)
				require.NoError(t, err)
				// The server has read that, and parks.
				require.Eventually(t, func() bool {
					after.mu.Lock()
					defer after.mu.Unlock()
					return len(after.conns) == i+1 && after.listeners[0].(*listener).report.errors() == uint64(i+1)
				}, patience, time.Millisecond)
				ask(t, client, requestRest)
				ask(t, client, request)
			}
			for _, conn := range after.conns {
				require.IsType(t, (*socket.Conn)(nil), conn)
				tcp, ok := socket.TCPConn(conn)
				require.True(t, ok)
				requireOptions(t, tcp, to(socket.NoDelay, 0))
			}
			require.EqualValues(t, conns, after.report(t).errors())
			log := caddy.log()
			require.Equal(t, 1, strings.Count(log, "option refused by a connection"), log)
			require.Contains(t, log, "TCP_QUICKACK")
			require.Contains(t, log, "protocol not available")
		})
	}
}

// TestMPTCPRefusals: what a connection refuses is counted by option and errno,
// logged once in a while, and costs neither the connection nor its other options.
func TestMPTCPRefusals(t *testing.T) {
	after := newCapture(t)
	addr := address(t)
	options := block("quickack off", "user_timeout 30s", "thin_stream on", "pacing_rate 1GiB", "raw 6 18 30000", "dscp ef")
	caddy := run(t, wrappers("sockopt"+options+"\n"+after.directive), "http://"+addr+" {\necho_payload 100\n}")
	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	const conns = 5
	for range conns {
		client, err := dialer.Dial("tcp", addr)
		require.NoError(t, err)
		defer client.Close()
		if multipath, err := client.(*net.TCPConn).MultipathTCP(); err != nil || !multipath {
			needed.Missing(t, fmt.Sprintf("no MPTCP here (%v)", err))
		}
		ask(t, client, request)
	}
	plain, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer plain.Close()
	ask(t, plain, request)

	now := after.report(t).now()
	require.EqualValues(t, conns+1, now.Connections)
	require.Zero(t, now.Unreachable)
	refused := make(map[string]uint64)
	for _, r := range now.Refused {
		refused[r.Kernel+" "+r.Errno] = r.Count
	}
	require.Equal(t, map[string]uint64{
		"TCP_QUICKACK ENOPROTOOPT":             conns,
		"TCP_USER_TIMEOUT ENOPROTOOPT":         conns,
		"TCP_THIN_LINEAR_TIMEOUTS ENOPROTOOPT": conns,
		"SO_MAX_PACING_RATE EOPNOTSUPP":        conns,
		"level 6 option 18 ENOPROTOOPT":        conns,
	}, refused)
	require.Equal(t, len(refused), strings.Count(caddy.log(), "option refused by a connection, which goes on without it"))
	for i, conn := range after.conns {
		tcp, ok := socket.TCPConn(conn)
		require.True(t, ok)
		require.Equal(t, "184", getsockopt(t, tcp, syscall.IPPROTO_IP, syscall.IP_TOS))
		if i == conns {
			require.Equal(t, "30000", getsockopt(t, tcp, syscall.IPPROTO_TCP, tcpUserTimeout))
		}
	}
}

func TestSilentProxyProtocolClientHoldsNobodyUp(t *testing.T) {
	for _, test := range []struct{ name, wrappers string }{
		{"sockopt after", proxyProtocol + "sockopt {\nquickack off\n}"},
		{"sockopt before", "sockopt {\nquickack off\n}\n" + proxyProtocol},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := address(t)
			run(t, wrappers(test.wrappers), "http://"+addr+" {\necho_payload 100\n}")
			var dialer net.Dialer
			for range 3 {
				// The kernel refuses TCP_QUICKACK on MPTCP, so that reporting is part of it.
				dialer.SetMultipathTCP(true)
				silent, err := dialer.Dial("tcp", addr)
				require.NoError(t, err)
				defer silent.Close()
			}
			client, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer client.Close()
			require.NoError(t, client.SetDeadline(time.Now().Add(patience)))
			ask(t, client, proxyHeader+request)
		})
	}
}

func TestUpgradedConnection(t *testing.T) {
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer backend.Close()
	go func() {
		for {
			conn, err := backend.Accept()
			if err != nil {
				return
			}
			go echoLines(conn)
		}
	}()
	for _, test := range []struct {
		name     string
		wrappers string
		servers  string
		tls      bool
		header   string
		cured    bool
	}{
		{name: "without sockopt"},
		{name: "sockopt", wrappers: "sockopt", cured: true},
		{name: "quickack on", wrappers: "sockopt {\nquickack on\n}", cured: true},
		{name: "quickack off", wrappers: "sockopt {\nquickack off\n}"},
		{name: "before tls", wrappers: "sockopt\ntls", tls: true, cured: true},
		{name: "after tls", wrappers: "sockopt", tls: true},
		{name: "HTTP/1.1 alone", wrappers: "sockopt", servers: "protocols h1", cured: true},
		{name: "before proxy_protocol", wrappers: "sockopt\n" + proxyProtocol, header: proxyHeader, cured: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := address(t)
			host, lines := "127.0.0.1", ""
			site := "http://" + addr
			var config *tls.Config
			if test.tls {
				cert, key, roots := certificate(t)
				host = "localhost"
				site = "https://localhost" + strings.TrimPrefix(addr, "127.0.0.1")
				lines = fmt.Sprintf("bind 127.0.0.1\ntls %s %s\n", cert, key)
				config = &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
			}
			after := newCapture(t)
			run(t, fmt.Sprintf("servers {\nlistener_wrappers {\n%s\n%s\n}\n%s\n}", test.wrappers, after.directive, test.servers),
				fmt.Sprintf("%s {\n%sreverse_proxy %s\n}", site, lines, backend.Addr()))
			after.loaded()
			conn, err := dialInPieces(t.Context(), addr, test.header)
			require.NoError(t, err)
			defer conn.Close()
			closeWrite := conn.(inPieces).Conn.(*net.TCPConn).CloseWrite
			if config != nil {
				secure := tls.Client(conn, config)
				conn, closeWrite = secure, secure.CloseWrite
			}
			require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
			require.NoError(t, err)
			r := bufio.NewReader(conn)
			resp, err := http.ReadResponse(r, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
			expect := func(want string) {
				got, err := r.ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
			expect("the backend speaks first\n")
			took := make([]time.Duration, 1)
			if test.cured {
				took = make([]time.Duration, 41) // most of them after the warm-up
			}
			for i := range took {
				line := fmt.Sprintf("line %d\n", i)
				start := time.Now()
				_, err := io.WriteString(conn, line)
				require.NoError(t, err)
				expect(line)
				took[i] = time.Since(start)
			}
			if test.cured {
				slices.Sort(took)
				require.Less(t, took[len(took)/2], 10*time.Millisecond)
			}
			long := strings.Repeat("*", 1<<20) + "\n"
			written := make(chan error, 1)
			go func() {
				_, err := io.WriteString(conn, long)
				written <- err
			}()
			expect(long)
			require.NoError(t, <-written)

			require.NoError(t, closeWrite())
			expect("the client has closed its half\n")
			_, err = r.ReadByte()
			require.ErrorIs(t, err, io.EOF)
		})
	}
}

// echoLines is a backend that upgrades a connection, and speaks first and last.
func echoLines(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	if _, err := http.ReadRequest(r); err != nil {
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n"+
		"the backend speaks first\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			_, _ = io.WriteString(conn, "the client has closed its half\n")
			return
		}
		_, _ = io.WriteString(conn, line)
	}
}

func TestServesUnixSocket(t *testing.T) {
	after := newCapture(t)
	path := filepath.Join(t.TempDir(), "socket")
	caddy := run(t, wrappers("sockopt {\nnodelay off\nrecv_buffer 64KiB\n}\n"+after.directive), "http://127.0.0.1 {\nbind unix/"+path+"\necho_payload 100\n}")
	client, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer client.Close()
	ask(t, client, request)
	require.NotContains(t, fmt.Sprintf("%T", after.listener(t)), "sockopt")
	require.NotContains(t, caddy.log(), `"logger":"caddy.listeners.sockopt"`)
}

func TestRedirectsBesideSockopt(t *testing.T) {
	for _, order := range []string{"sockopt\nhttp_redirect\ntls", "http_redirect\nsockopt\ntls"} {
		t.Run(order, func(t *testing.T) {
			addr := address(t)
			cert, key, _ := certificate(t)
			site := "https://localhost" + strings.TrimPrefix(addr, "127.0.0.1")
			run(t, wrappers(order), fmt.Sprintf("%s {\nbind 127.0.0.1\ntls %s %s\necho_payload\n}", site, cert, key))
			client, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer client.Close()
			_, err = io.WriteString(client, "GET /there HTTP/1.1\r\nHost: localhost\r\n\r\n")
			require.NoError(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(client), nil)
			require.NoError(t, err)
			defer resp.Body.Close()
			require.Equal(t, http.StatusPermanentRedirect, resp.StatusCode)
			require.Equal(t, "https://localhost/there", resp.Header.Get("Location"))
		})
	}
}
