package integration_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// routes is a server that proxies to the gate, with lines before.
func (g *gate) routes(t *testing.T, protocols, lines string) (c *lab.Running, addr string) {
	t.Helper()
	addr = lab.Address(t)
	c = inprocess.Run(t, "servers {\nprotocols "+protocols+"\nlistener_wrappers {\nsockopt\n"+inprocess.Observer+"\n}\n}",
		fmt.Sprintf("http://%s {\n%s\nreverse_proxy %s\n}", addr, lines, g.Listener.Addr()))
	return c, addr
}

// singleClient is an HTTP client with one connection, and that connection.
func singleClient(t *testing.T, h2c bool) (client *http.Client, conn func() net.Conn) {
	t.Helper()
	var mu sync.Mutex
	var dialed []net.Conn
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			mu.Lock()
			defer mu.Unlock()
			dialed = append(dialed, conn)
			return conn, err
		},
		MaxConnsPerHost: 1,
	}
	if h2c {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: lab.Patience}, func() net.Conn {
		mu.Lock()
		defer mu.Unlock()
		require.Len(t, dialed, 1)
		return dialed[0]
	}
}

// TestRouteOptions has each option of the route phase on a connection while a request
// is served, and what was there before afterwards.
func TestRouteOptions(t *testing.T) {
	g := newGate(t, "/held")
	for _, o := range options.ThisSystem().Options {
		if o.Kernel == "" || !slices.Contains(o.Phases, "route") || o.Name == "cork" { // cork begins with the response
			continue
		}
		for _, h2c := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/h2c %v", o.Name, h2c), func(t *testing.T) {
				needKernel(t, o.Name)
				kernel := heldBy(t, o.Name)
				c, addr := g.routes(t, "h1 h2c", fmt.Sprintf("sockopt /held {\n%s %s\n}", o.Name, kernel.Sample))
				client, conn := singleClient(t, h2c)
				requirePayload(t, client, "http://"+addr+"/")
				served, _ := inprocess.AcceptedSocket(t, conn())
				base := kernel.Read(t, served)
				require.NotEqual(t, kernel.Effective, base)

				for range 2 {
					answered := make(chan error, 1)
					go func() { answered <- lab.Get(t.Context(), client, "http://"+addr+"/held") }()
					<-g.entered["/held"]
					require.Equal(t, kernel.Effective, kernel.Read(t, served))
					g.leave["/held"] <- struct{}{}
					require.NoError(t, <-answered)
					// net/http says that a connection is idle after the client has the response.
					require.Eventually(t, func() bool { return kernel.Read(t, served) == base },
						lab.Patience, time.Millisecond, "%v again", base)
				}
				requirePayload(t, client, "http://"+addr+"/")
				require.NotContains(t, c.Logged(), "refused")
			})
		}
	}
}

// TestRouteRestoresDerivedPriority: setting the traffic class sets the priority.
func TestRouteRestoresDerivedPriority(t *testing.T) {
	g := newGate(t, "/held")
	addr := lab.Address(t)
	inprocess.Run(t, lab.Wrappers("sockopt {\npriority 5\n}\n"+inprocess.Observer),
		fmt.Sprintf("http://%s {\nsockopt {\ndscp cs1\n}\nreverse_proxy %s\n}", addr, g.Listener.Addr()))
	client, conn := singleClient(t, false)
	requirePayload(t, client, "http://"+addr+"/")
	served, _ := inprocess.AcceptedSocket(t, conn())
	require.Eventually(t, func() bool {
		return heldBy(t, "dscp").Read(t, served) == "0" && priorityOf(t, served) == 5
	}, lab.Patience, time.Millisecond)
}

// priorityOf reads SO_PRIORITY.
func priorityOf(t testing.TB, c syscall.Conn) int {
	t.Helper()
	priority, err := strconv.Atoi(lab.GetSockOpt(t, c, syscall.SOL_SOCKET, syscall.SO_PRIORITY))
	require.NoError(t, err)
	return priority
}

// TestRouteOverlap has two streams of a connection name the same option.
func TestRouteOverlap(t *testing.T) {
	const base, a, b = 0, 3, 5
	for _, test := range []struct {
		name  string
		first string // to leave
		then  int
	}{
		{"the later one leaves first", "/b", a},
		{"the earlier one leaves first", "/a", b},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGate(t, "/a", "/b")
			_, addr := g.routes(t, "h1 h2c", fmt.Sprintf("sockopt /a {\npriority %d\n}\nsockopt /b {\npriority %d\n}", a, b))
			client, conn := singleClient(t, true)
			requirePayload(t, client, "http://"+addr+"/")
			served, _ := inprocess.AcceptedSocket(t, conn())
			has := func(want int) {
				t.Helper()
				require.Equal(t, want, priorityOf(t, served))
			}
			answered := map[string]chan error{"/a": make(chan error, 1), "/b": make(chan error, 1)}
			enter := func(path string) {
				go func() { answered[path] <- lab.Get(t.Context(), client, "http://"+addr+path) }()
				<-g.entered[path]
			}
			leave := func(path string, then int) {
				g.leave[path] <- struct{}{}
				require.NoError(t, <-answered[path])
				// The last frame may reach the client before the handler returns.
				require.Eventually(t, func() bool {
					return priorityOf(t, served) == then
				}, lab.Patience, time.Millisecond)
			}
			has(base)
			enter("/a")
			has(a)
			enter("/b")
			has(b)
			leave(test.first, test.then)
			leave(map[string]string{"/a": "/b", "/b": "/a"}[test.first], base)
		})
	}
}

// TestRouteManyStreams leaves nothing on a connection that many streams shared.
func TestRouteManyStreams(t *testing.T) {
	g := newGate(t)
	_, addr := g.routes(t, "h1 h2c", `sockopt /a/* {
		priority 3
		notsent_lowat 64KiB
		dscp ef
	}
	sockopt /*/b {
		priority 5
		send_buffer 192KiB
		user_timeout 30s
	}`)
	client, conn := singleClient(t, true)
	requirePayload(t, client, "http://"+addr+"/")
	served, _ := inprocess.AcceptedSocket(t, conn())
	named := []string{"priority", "notsent_lowat", "dscp", "user_timeout", "send_buffer"}
	base := make([]string, len(named))
	for i, name := range named {
		base[i] = heldBy(t, name).Read(t, served)
	}
	paths := []string{"/", "/a/", "/x/b", "/a/b"}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 25 {
				path := paths[next.Add(1)%int64(len(paths))]
				resp, err := client.Get("http://" + addr + path)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || string(body) != string(lab.Stars) {
					t.Errorf("%d bytes, %v", len(body), err)
				}
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		for i, name := range named[:4] {
			if heldBy(t, name).Read(t, served) != base[i] {
				return false
			}
		}
		return heldBy(t, "send_buffer").Read(t, served) != fmt.Sprint(2*192<<10)
	}, lab.Patience, time.Millisecond)
	conn() // it was one
}

// TestRouteCounts counts the system calls of route options: one in and one out for
// each, and none where the value is there already.
func TestRouteCounts(t *testing.T) {
	t.Parallel()
	var l lab.Sites
	const requests = 200 // over two connections
	for _, lines := range []string{
		"",
		"sockopt {\npriority 3\nuser_timeout 30s\n}",
		"sockopt {\npriority 0\nnodelay on\n}",
		"sockopt /elsewhere {\npriority 3\n}",
	} {
		l.Add(t, lab.Stock, lab.Plain, lines+"\necho_payload")
	}
	system := l.Record(t, "setsockopt,getsockopt", func(t *testing.T) {
		for _, c := range l.All {
			c.AskInTurn(t, requests)
		}
	})
	count := func(call string, c lab.Site) int {
		return len(system.Like("^" + call + `\(` + c.Descriptor()))
	}
	stock, two, there, elsewhere := l.All[0], l.All[1], l.All[2], l.All[3]
	t.Logf("two options: %d setsockopt, %d getsockopt for %d requests over two connections",
		count("setsockopt", two)-count("setsockopt", stock), count("getsockopt", two)-count("getsockopt", stock), requests)
	require.Equal(t, count("setsockopt", stock)+requests*2*2, count("setsockopt", two))
	require.Equal(t, count("getsockopt", stock)+2*2, count("getsockopt", two))
	require.Equal(t, count("setsockopt", stock), count("setsockopt", there))
	require.Equal(t, count("setsockopt", stock), count("setsockopt", elsewhere))
	require.Equal(t, count("getsockopt", stock), count("getsockopt", elsewhere))
}

// TestRouteOfUpgradedConnection has the options stay.
func TestRouteOfUpgradedConnection(t *testing.T) {
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer backend.Close()
	go func() {
		if conn, err := backend.Accept(); err == nil {
			echoLines(conn)
		}
	}()
	addr := lab.Address(t)
	inprocess.Run(t, lab.Wrappers("sockopt\n"+inprocess.Observer), fmt.Sprintf("http://%s {\nsockopt {\npriority 3\n}\nreverse_proxy %s\n}", addr, backend.Addr()))
	client, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer client.Close()
	_, err = io.WriteString(client, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
	require.NoError(t, err)
	r := bufio.NewReader(client)
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	for _, line := range []string{"the backend speaks first\n", "an echo\n"} {
		got, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, line, got)
		_, err = io.WriteString(client, "an echo\n")
		require.NoError(t, err)
	}
	conn, _ := inprocess.AcceptedSocket(t, client)
	require.Equal(t, 3, priorityOf(t, conn))
}

// TestRouteOverUnixSocket passes requests through, and says so once.
func TestRouteOverUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	c := inprocess.Run(t, "", "http:// {\nbind unix/"+path+"\ntcp_info\nheader X-RTT \"{http.tcp_info.rtt}\"\nsockopt {\npriority 3\n}\necho_payload\n}")
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	defer client.CloseIdleConnections()
	for range 2 {
		requirePayload(t, client, "http://localhost/")
	}
	require.Equal(t, 1, strings.Count(c.Logged(), "a request came over no TCP connection"))
}

// TestRouteOverHTTP3 passes requests through, too.
func TestRouteOverHTTP3(t *testing.T) {
	var l lab.Sites
	l.Certify(t)
	addr := lab.Address(t)
	c := lab.Spawn(t, "", fmt.Sprintf("https://%s {\ntls %s %[2]s\ntcp_info\nheader X-RTT \"{http.tcp_info.rtt}\"\nsockopt {\npriority 3\n}\necho_payload\n}", addr, l.Certificate.File))
	transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: l.Certificate.Roots, ServerName: "127.0.0.1"}}
	defer transport.Close()
	client := &http.Client{Transport: transport, Timeout: lab.Patience}
	for range 2 {
		requirePayload(t, client, "https://"+addr+"/")
	}
	passed := regexp.MustCompile(`a request came over no TCP connection; it goes on without the options, but for pacing_rate",.*"proto":"HTTP/3.0"`)
	require.Len(t, passed.FindAllString(c.Logged(), -1), 1)
}
