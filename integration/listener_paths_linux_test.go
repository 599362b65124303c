package integration_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
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
	{name: "HTTP/1.1 after tls", wrappers: "SOCKOPT", tls: true},
	{name: "HTTP/2 after tls", wrappers: "SOCKOPT", tls: true, proto: "HTTP/2.0"},
	{name: "HTTP/1.1 alone after tls", wrappers: "SOCKOPT", servers: "protocols h1", tls: true},
	{name: "HTTP/2 alone after tls", wrappers: "SOCKOPT", servers: "protocols h2", tls: true, proto: "HTTP/2.0"},

	{name: "before proxy_protocol", wrappers: "SOCKOPT\n" + proxyProtocol, header: proxyHeader, remote: "192.0.2.7"},
	{name: "before proxy_protocol and tls", wrappers: "SOCKOPT\n" + proxyProtocol + "tls", tls: true, proto: "HTTP/2.0", header: proxyHeader, remote: "192.0.2.7"},
	{name: "after proxy_protocol", wrappers: proxyProtocol + "SOCKOPT", header: proxyHeader, remote: "192.0.2.7"},
	{name: "between proxy_protocol and tls", wrappers: proxyProtocol + "SOCKOPT\ntls", tls: true, header: proxyHeader, remote: "192.0.2.7"},
	{name: "after proxy_protocol and tls", wrappers: proxyProtocol + "tls\nSOCKOPT", tls: true, proto: "HTTP/2.0", header: proxyHeader, remote: "192.0.2.7"},

	{name: "before http_redirect", wrappers: "SOCKOPT\nhttp_redirect\ntls", tls: true},
	{name: "after http_redirect", wrappers: "http_redirect\nSOCKOPT\ntls", tls: true},

	{name: "IPv6", wrappers: "SOCKOPT", site: "http://[::1]:PORT", dial: "[::1]:PORT", remote: "::1"},
	{name: "IPv4 client of a wildcard", wrappers: "SOCKOPT", site: "http://:PORT"},
	{name: "IPv6 client of a wildcard", wrappers: "SOCKOPT", site: "http://:PORT", dial: "[::1]:PORT", remote: "::1"},
	{name: "inherited socket", wrappers: "SOCKOPT", site: "http://:PORT", lines: "bind fd/FD"},
}

// serve runs a Caddy that is reached in this way, with the given sockopt block,
// and returns its client, and what Accept and the listening sockets were.
func (w way) serve(t testing.TB, block string) (c *lab.Running, client *http.Client, addr string) {
	t.Helper()
	port := fmt.Sprint(lab.Port(t))
	site, dial, lines := w.site, w.dial, w.lines
	if site == "" {
		site = "http://127.0.0.1:PORT"
	}
	if dial == "" {
		dial = "127.0.0.1:PORT"
	}
	if strings.Contains(site+dial, "::1") {
		lab.RequireIPv6(t)
	}
	transport := &http.Transport{MaxConnsPerHost: 1, Protocols: new(http.Protocols)}
	t.Cleanup(transport.CloseIdleConnections)
	scheme := "http"
	if w.tls {
		certificate := lab.Certify(t)
		scheme, site = "https", "https://localhost:PORT"
		lines += fmt.Sprintf("\nbind 127.0.0.1\ntls %s %[1]s", certificate.File)
		transport.TLSClientConfig = &tls.Config{RootCAs: certificate.Roots, MinVersion: tls.VersionTLS12}
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

	wrappers := strings.ReplaceAll(w.wrappers, "SOCKOPT", block+"\n"+inprocess.Observer)
	c = inprocess.Run(t, fmt.Sprintf("servers {\nlistener_wrappers {\n%s\n}\n%s\n}", wrappers, w.servers),
		fmt.Sprintf("%s {\n%s\nheader Remote {remote_host}\necho_payload 100\n}", strings.ReplaceAll(site, "PORT", port), lines))
	host := dial
	if w.tls {
		host = "localhost:" + port
	}
	transport.RegisterProtocol("way", roundTripperFunc(func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = scheme, host
		return transport.RoundTrip(r)
	}))
	return c, &http.Client{Transport: transport, Timeout: lab.Patience}, dial
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
			c, client, addr := w.serve(t, "sockopt {\nnodelay off\nrecv_buffer 64KiB\nsend_buffer 96KiB\n}")
			w.get(t, client)

			tcp, ok := socket.TCPConn(inprocess.Conn(t, addr))
			require.True(t, ok)
			require.Equal(t, "0", lab.GetSockOpt(t, tcp, syscall.IPPROTO_TCP, syscall.TCP_NODELAY))
			for _, s := range []syscall.Conn{tcp, inprocess.ListeningSocket(t, addr)} {
				// The kernel doubles a buffer (socket(7)).
				require.Equal(t, fmt.Sprint(2*64<<10), lab.GetSockOpt(t, s, syscall.SOL_SOCKET, syscall.SO_RCVBUF))
				require.Equal(t, fmt.Sprint(2*96<<10), lab.GetSockOpt(t, s, syscall.SOL_SOCKET, syscall.SO_SNDBUF))
			}
			require.Zero(t, failures(statusOf(t, c).Listeners[0]))
		})
	}
}

func TestQuickAckEveryWay(t *testing.T) {
	inprocess.Parallel(t)
	for _, mode := range []socket.AckMode{socket.AckAuto, socket.AckOn, socket.AckOff} {
		for i, w := range ways {
			if mode != socket.AckAuto && i%6 != 0 && !lab.IsLong() {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", mode, w.name), func(t *testing.T) {
				block := "sockopt"
				if mode != socket.AckAuto {
					block = fmt.Sprintf("sockopt {\nquickack %s\n}", mode)
				}
				c, client, addr := w.serve(t, block)
				w.get(t, client)
				if strings.HasSuffix(w.wrappers, "tls\nSOCKOPT") { // HTTP/2 needs the connection that it knows
					require.IsType(t, (*tls.Conn)(nil), inprocess.Conn(t, addr))
				}
				switch {
				case mode != socket.AckOff:
					requireNoStall(t, func() { w.get(t, client) })
				case w.name == "HTTP/1.1":
					// A request in pieces does stall where nothing prevents it.
					requireStall(t, func() { w.get(t, client) })
				}
				require.Empty(t, c.Warnings())
				use := statusOf(t, c).Listeners[0]
				require.Zero(t, failures(use))
				require.Equal(t, string(mode), use.QuickAck)
			})
		}
	}
}

// TestBehindAnotherWrapper: behind one that may hide connections the options are set, and
// quickack is not in effect, which is logged once and shown.
func TestBehindAnotherWrapper(t *testing.T) {
	inprocess.Parallel(t)
	w := way{wrappers: "test_hide\nSOCKOPT"}
	c, client, addr := w.serve(t, "sockopt {\nnodelay off\n}")
	requireStall(t, func() { w.get(t, client) })
	client.CloseIdleConnections()
	w.get(t, client)
	conns := inprocess.Conns(t, addr)
	tcp, ok := socket.TCPConn(conns[len(conns)-1])
	require.True(t, ok)
	require.Equal(t, "0", lab.GetSockOpt(t, tcp, syscall.IPPROTO_TCP, syscall.TCP_NODELAY))
	warnings := slices.DeleteFunc(c.Warnings(), func(e lab.Entry) bool { return e.Option == "nodelay" })
	require.Len(t, warnings, 1)
	require.Equal(t, "quickack and metrics have no effect behind another listener wrapper; list sockopt before it", warnings[0].Message)
	require.Equal(t, "srv0", warnings[0].Server)
	require.Equal(t, ":"+lab.PortOf(addr), warnings[0].Address)
	require.Equal(t, "test_hide", warnings[0].Wrapper)
	require.Equal(t, "off", statusOf(t, c).Listeners[0].QuickAck)
	require.Equal(t, "test_hide hides the connections of this listener; list sockopt before what wraps it", statusOf(t, c).Listeners[0].QuickAckReason)
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

func TestSilentProxyProtocolClientHoldsNobodyUp(t *testing.T) {
	for _, test := range []struct{ name, wrappers string }{
		{"sockopt after", proxyProtocol + "sockopt {\nquickack off\n}"},
		{"sockopt before", "sockopt {\nquickack off\n}\n" + proxyProtocol},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := lab.Address(t)
			inprocess.Run(t, lab.Wrappers(test.wrappers), "http://"+addr+" {\necho_payload 100\n}")
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
			require.NoError(t, client.SetDeadline(time.Now().Add(lab.Patience)))
			ask(t, client, proxyHeader+request)
		})
	}
}

func TestRedirectsBesideSockopt(t *testing.T) {
	for _, order := range []string{"sockopt\nhttp_redirect\ntls", "http_redirect\nsockopt\ntls"} {
		t.Run(order, func(t *testing.T) {
			addr := lab.Address(t)
			certificate := lab.Certify(t)
			site := "https://localhost" + strings.TrimPrefix(addr, "127.0.0.1")
			inprocess.Run(t, lab.Wrappers(order), fmt.Sprintf("%s {\nbind 127.0.0.1\ntls %s %[2]s\necho_payload\n}", site, certificate.File))
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
