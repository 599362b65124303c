package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// Addresses of the link to the backends: this process's, and theirs.
const (
	toBackends, backends         = "10.77.0.1", "10.77.0.2"
	toBackendsIPv6, backendsIPv6 = "2001:db8:77::1", "2001:db8:77::2"
)

// newBackends makes a network namespace for backends, whose way to everybody is through this
// process, and runs listen there.
func newBackends(t *testing.T, listen func()) {
	t.Helper()
	thread, ready, done := make(chan int), make(chan bool), make(chan bool)
	go func() {
		runtime.LockOSThread() // which ends with this goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			panic(err) // the test is isolated, so it may
		}
		thread <- unix.Gettid()
		<-ready
		for _, args := range [][]string{
			{"link", "set", "backend1", "up"},
			{"address", "add", backends + "/24", "dev", "backend1"},
			{"address", "add", backendsIPv6 + "/64", "dev", "backend1", "nodad"},
			{"route", "add", "default", "via", toBackends},
			{"-6", "route", "add", "default", "via", toBackendsIPv6},
		} {
			if output, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
				panic(fmt.Sprintf("ip %v: %s", args, output))
			}
		}
		listen()
		done <- true
		<-t.Context().Done()
	}()
	ip(t, nil, "link", "add", "backend0", "type", "veth", "peer", "name", "backend1", "netns", fmt.Sprint(<-thread))
	ip(t, nil, "address", "add", toBackends+"/24", "dev", "backend0")
	ip(t, nil, "address", "add", toBackendsIPv6+"/64", "dev", "backend0", "nodad")
	ip(t, nil, "link", "set", "backend0", "up")
	ready <- true
	<-done
}

// pageCommands runs the nth block of commands of docs/bind.md.
func pageCommands(t *testing.T, nth int) {
	t.Helper()
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(readPage(t, "docs/bind.md"), -1)
	output, err := lab.Command(t.Context(), "sh", "-ec", blocks[nth][1]).CombinedOutput()
	require.NoError(t, err, "%s", output)
	t.Cleanup(func() {
		ip(t, nil, "-4", "route", "flush", "table", "100")
		ip(t, nil, "-6", "route", "flush", "table", "100")
	})
}

// serveRaw answers a connection with its client's address and its first line.
func serveRaw(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	line, err := reader.ReadString('\n')
	if err != nil {
		return
	}
	if _, err := http.ReadRequest(reader); err != nil { // what is left unread would make Close a reset
		return
	}
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	body := host + " " + strings.TrimSpace(line)
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// TestTransparent: the backend sees the client's own address, where there is one of its
// family, and each request has a connection of its own.
func TestTransparent(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	d := newDevices(t)
	var ln, raw net.Listener
	newBackends(t, func() {
		var err error
		ln, err = net.Listen("tcp", ":8080")
		if err == nil {
			raw, err = net.Listen("tcp", ":8081")
		}
		if err != nil {
			panic(err)
		}
	})
	pageCommands(t, 1)
	checked := make(chan string, 100)
	backend := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			checked <- r.RemoteAddr
		}
		_, _ = io.WriteString(w, r.RemoteAddr)
	})}
	go func() { _ = backend.Serve(ln) }()
	t.Cleanup(func() { backend.Close() })
	go func() {
		for {
			conn, err := raw.Accept()
			if err != nil {
				return
			}
			go serveRaw(conn)
		}
	}()
	t.Cleanup(func() { raw.Close() })

	const transparent = "transport sockopt {\nsocket {\ntransparent on\n}\n%s\n}\n"
	site := func(address, upstream, more string) string {
		return fmt.Sprintf("%s {\nreverse_proxy %s {\n"+transparent+"}\n}\n", address, upstream, more)
	}
	ipv4, ipv6 := lab.HostPort(backends, 8080), lab.HostPort(backendsIPv6, 8080)
	unixSocket := filepath.Join(t.TempDir(), "socket")
	sites := site("http://:8001", ipv4, "") + site("http://:8002", ipv6, "") +
		site("http://:8003", lab.HostPort(backends, 8081), "proxy_protocol v1") +
		"http://unix.example {\nbind unix/" + unixSocket + "\nreverse_proxy " + ipv4 + " {\n" + fmt.Sprintf(transparent, "") + "health_uri /health\nhealth_interval 50ms\n}\n}\n"
	c := inprocess.Run(t, "servers {\ntrusted_proxies static "+d.Far+"/32\n}", sites)
	ask := func(address, forwarded string) string {
		t.Helper()
		client := &http.Client{Timeout: lab.Patience, Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			if strings.HasPrefix(address, "/") {
				return net.Dial("unix", address)
			}
			return d.Dial(address)
		}}}
		host := address
		if strings.HasPrefix(address, "/") {
			host = "unix.example"
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host, nil)
		require.NoError(t, err)
		if forwarded != "" {
			req.Header.Set("X-Forwarded-For", forwarded)
		}
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
		return string(body)
	}
	host := func(addr string) string {
		t.Helper()
		host, _, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		return host
	}
	near := func(port int) string { return lab.HostPort(d.Near, port) }

	first, second := ask(near(8001), ""), ask(near(8001), "")
	require.Equal(t, d.Far, host(first))
	require.Equal(t, d.Far, host(second))
	require.NotEqual(t, first, second, "two requests over one connection")
	require.Equal(t, farIPv6, host(ask(lab.HostPort(nearIPv6, 8002), "")))

	// Behind a trusted proxy it is the address that the proxy says.
	require.Equal(t, "192.0.2.200", host(ask(near(8001), "192.0.2.200")))
	require.Equal(t, "2001:db8:200::1", host(ask(near(8002), "2001:db8:200::1")))

	// The PROXY header goes over the same connection.
	require.Equal(t, d.Far+" PROXY TCP4 "+d.Far+" 0.0.0.0", strings.Join(strings.Fields(ask(near(8003), ""))[:5], " "))

	// Without a client address of the backend's family the connection has Caddy's.
	require.Equal(t, toBackendsIPv6, host(ask(near(8002), "")))
	require.Equal(t, toBackends, host(ask(lab.HostPort(nearIPv6, 8001), "")))
	require.Equal(t, toBackends, host(ask(unixSocket, "")))
	select {
	case addr := <-checked:
		require.Equal(t, toBackends, host(addr))
	case <-time.After(lab.Patience):
		t.Error("no health check")
	}
	var refused []string
	for _, use := range statusOf(t, c).Transports {
		for _, r := range use.Counters.Refused {
			refused = append(refused, fmt.Sprintf("%s %s %d", r.Option, r.Errno, r.Count))
		}
	}
	require.ElementsMatch(t, []string{"transparent EAFNOSUPPORT 1", "transparent EAFNOSUPPORT 1"}, refused, "of either backend")

	// What does not go with it is an error.
	for with, want := range map[string]string{
		"versions 1.1 2":    "transparent: a connection is one client's, so it speaks HTTP/1.1; remove 2 from versions",
		"versions h2c":      "remove h2c from versions",
		"local_address ::1": "transparent: connections have the client's address; remove local_address",
	} {
		status, answer := c.Load("text/caddyfile", c.Caddyfile("", site("http://:8001", ipv4, with)))
		require.Equal(t, http.StatusBadRequest, status)
		require.Contains(t, errorIn(t, answer), want)
	}
	require.Contains(t, c.Logged(), "transparent: each request to the backend has a connection of its own, over HTTP/1.1")
}
