package integration_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// wrapBehindProxy is a backend with Nagle's algorithm on that reads a PROXY
// protocol header.
var wrapBehindProxy = lab.Wrapping{Name: "behind proxy_protocol", Lines: lab.NagleOn.Lines + "\nproxy_protocol {\nallow 127.0.0.1/32\n}"}

// backendPath is one way from Caddy to a backend with Nagle's algorithm on. In
// its texts, BACKEND stands for the backend's address, PORT for its port, CERT
// for the file with its certificate, and HELPER for the address of helper.
type backendPath struct {
	name     string
	protocol lab.Protocol // of the backend
	wrapping lab.Wrapping // of the backend, default lab.NagleOn
	upstream string       // default BACKEND
	lines    string       // of the transport
	site     string       // further lines of the site
	helper   func(t *testing.T) (addr string)

	// sees is what the backend sees, by header of its response.
	sees map[string]string

	// flows says that transport http does not stall here either.
	flows bool

	// compared says that the short form shows the stall with transport http, too.
	compared bool
}

const trustBackend = "tls_trust_pool file CERT\n"

var backendPaths = []backendPath{
	{name: "HTTP/1.1", compared: true, protocol: lab.Plain, sees: map[string]string{"Proto": "HTTP/1.1"}},
	{name: "timeouts", protocol: lab.Plain, lines: "read_timeout 20s\nwrite_timeout 20s"},
	{name: "read timeout", protocol: lab.Plain, lines: "read_timeout 20s"},
	{name: "write timeout", protocol: lab.Plain, lines: "write_timeout 20s"},
	{name: "local address", protocol: lab.Plain, lines: "local_address 127.0.0.2", sees: map[string]string{"Remote": "127.0.0.2"}},
	{name: "resolvers", protocol: lab.Plain, upstream: "backend.test:PORT", lines: "resolvers HELPER", helper: resolver},
	{
		name: "network proxy", protocol: lab.Plain, lines: "network_proxy url http://HELPER",
		site: "request_header Host BACKEND", helper: forwardProxy, sees: map[string]string{"Proxied": "yes"}, flows: true,
	},
	{
		name: "proxy_protocol", protocol: lab.Plain, wrapping: wrapBehindProxy, lines: "proxy_protocol v1",
		site: "vars client_ip 192.0.2.7", sees: map[string]string{"Remote": "192.0.2.7"},
	},
	{name: "no keep-alive", protocol: lab.Plain, lines: "keepalive off", flows: true},

	{name: "TLS", compared: true, protocol: lab.TLS, lines: trustBackend + "versions 1.1", sees: map[string]string{"Proto": "HTTP/1.1", "Name": ""}},
	{name: "TLS and timeouts", protocol: lab.TLS, lines: trustBackend + "versions 1.1\nread_timeout 20s\nwrite_timeout 20s"},
	{
		name: "TLS and a server name", protocol: lab.TLS, lines: trustBackend + "versions 1.1\ntls_server_name example.com",
		sees: map[string]string{"Name": "example.com"},
	},
	{
		name: "TLS and a placeholder", protocol: lab.TLS, lines: trustBackend + "versions 1.1\ntls_timeout 20s\ntls_server_name {vars.name}",
		site: "vars name example.com", sees: map[string]string{"Proto": "HTTP/1.1", "Name": "example.com"},
	},
	{
		name: "TLS, a placeholder and timeouts", protocol: lab.TLS,
		lines: trustBackend + "versions 1.1\nread_timeout 20s\nwrite_timeout 20s\ntls_server_name {vars.name}",
		site:  "vars name example.com", sees: map[string]string{"Name": "example.com"},
	},
	{
		name: "TLS and proxy_protocol", protocol: lab.TLS, wrapping: wrapBehindProxy,
		lines: trustBackend + "versions 1.1\nproxy_protocol v2\ntls_server_name example.com",
		site:  "vars client_ip 192.0.2.7", sees: map[string]string{"Proto": "HTTP/1.1", "Name": "example.com", "Remote": "192.0.2.7"},
	},

	{name: "HTTP/2", compared: true, protocol: lab.TLS, lines: trustBackend, sees: map[string]string{"Proto": "HTTP/2.0"}},
	{
		name: "HTTP/2 and a placeholder", protocol: lab.TLS, lines: trustBackend + "tls_server_name {vars.name}",
		site: "vars name example.com", sees: map[string]string{"Proto": "HTTP/2.0", "Name": "example.com"},
	},
	{
		name: "HTTP/2 and proxy_protocol", protocol: lab.TLS, wrapping: wrapBehindProxy,
		lines: trustBackend + "proxy_protocol v2\ntls_server_name example.com",
		site:  "vars client_ip 192.0.2.7", sees: map[string]string{"Proto": "HTTP/2.0", "Remote": "192.0.2.7"},
	},
	{name: "h2c", protocol: lab.H2C, upstream: "h2c://BACKEND", sees: map[string]string{"Proto": "HTTP/2.0"}},
	{name: "h2c and timeouts", protocol: lab.H2C, lines: "versions h2c\nread_timeout 20s", sees: map[string]string{"Proto": "HTTP/2.0"}},
}

// Whatever the path to a backend with Nagle's algorithm on, the options are set
// on the connection, the backend sees what it sees with transport http, and
// no end waits for a delayed ACK.
func TestPathsToBackends(t *testing.T) {
	inprocess.Parallel(t)
	for _, path := range backendPaths {
		t.Run(path.name, func(t *testing.T) {
			c, addrs, peer := path.serve(t)
			forEach(t, addrs, func(t *testing.T, addr string) {
				if addr == addrs["http"] && !path.compared && !lab.IsLong() {
					t.Skip("the stall is shown on some paths")
				}
				client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: lab.Patience}
				defer client.CloseIdleConnections()
				ask := func() { path.ask(t, client, addr) }
				if addr == addrs["http"] && !path.flows {
					requireStall(t, ask)
				} else {
					requireNoStall(t, ask)
				}
			})
			shown := transportInUse(t, c)
			require.Positive(t, shown.Counters.Connections)
			require.Zero(t, shown.Counters.Unreachable)
			require.Empty(t, shown.Counters.Refused)
			if !path.flows {
				require.GreaterOrEqual(t, shown.Counters.Acknowledged, uint64(batch))
				require.Contains(t, userTimeouts(t, peer), int(20*time.Second/time.Millisecond))
			}
			require.Empty(t, slices.DeleteFunc(c.Warnings(), func(e lab.Entry) bool { return e.Option == "nodelay" }))
		})
	}
}

// serve runs the backend and a site for each of the transports. It returns their
// addresses, and the one that they dial.
func (p backendPath) serve(t *testing.T) (c *lab.Running, addrs map[string]string, dialed string) {
	t.Helper()
	var l lab.Sites
	if p.wrapping.Name == "" {
		p.wrapping = lab.NagleOn
	}
	p.wrapping.Lines += "\n" + inprocess.Observer
	backend := l.Add(t, p.wrapping, p.protocol, "header Proto {http.request.proto}\nheader Remote {remote_host}\n"+
		"header Name \"{http.request.tls.server_name}\"\necho_payload")
	_, port, err := net.SplitHostPort(backend.Addr)
	require.NoError(t, err)
	dialed = backend.Addr
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
	certificate := ""
	if l.Certificate != nil {
		certificate = l.Certificate.File
	}
	addrs = make(map[string]string)
	for _, transport := range transports {
		options := ""
		if transport == "sockopt" {
			options = "socket {\nuser_timeout 20s\n}\n"
		}
		lines := fmt.Sprintf("%s\nreverse_proxy %s {\ntransport %s {\n%s\n%s}\n}", p.site, p.upstream, transport, p.lines, options)
		lines = strings.NewReplacer("BACKEND", backend.Addr, "PORT", port, "CERT", certificate, "HELPER", helper).Replace(lines)
		addrs[transport] = l.Add(t, lab.Stock, lab.Plain, lines).Addr
	}
	c = inprocess.RunSites(t, &l)
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
	require.True(t, bytes.Equal(lab.Stars, body))
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
