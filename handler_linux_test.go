package sockopt

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// gate is a backend that answers a request when the test lets it.
type gate struct {
	*httptest.Server
	entered, leave map[string]chan struct{} // by path
}

func newGate(t *testing.T, paths ...string) *gate {
	t.Helper()
	g := &gate{entered: make(map[string]chan struct{}), leave: make(map[string]chan struct{})}
	for _, path := range paths {
		g.entered[path], g.leave[path] = make(chan struct{}), make(chan struct{})
	}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if entered, ok := g.entered[r.URL.Path]; ok {
			entered <- struct{}{}
			<-g.leave[r.URL.Path]
		}
		_, _ = w.Write(stars)
	}))
	t.Cleanup(g.Close)
	return g
}

// routes is a server that proxies to the gate, with lines before.
func (g *gate) routes(t *testing.T, protocols, lines string) (c *running, addr string) {
	t.Helper()
	addr = address(t)
	c = run(t, "servers {\nprotocols "+protocols+"\nlistener_wrappers {\nsockopt\n"+observe+"\n}\n}",
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
	return &http.Client{Transport: transport, Timeout: patience}, func() net.Conn {
		mu.Lock()
		defer mu.Unlock()
		require.Len(t, dialed, 1)
		return dialed[0]
	}
}

func getStars(t *testing.T, client *http.Client, url string) {
	t.Helper()
	require.NoError(t, get(t.Context(), client, url))
}

// saved reads what a socket has of an option.
func saved(conn *net.TCPConn, o socket.Option) (socket.Saved, error) {
	options, err := socket.NewOptions(conn)
	if err != nil {
		return socket.Saved{}, err
	}
	return options.Save(o)
}

// TestRouteRows has each option of the route phase on a connection while a request
// is served, and what was there before afterwards.
func TestRouteRows(t *testing.T) {
	g := newGate(t, "/held")
	for _, r := range rows {
		if r.phases&route == 0 || r.option.Name == "" {
			continue
		}
		for _, h2c := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/h2c %v", r.name, h2c), func(t *testing.T) {
				needKernel(t, r)
				want, o := expect(t, r)
				s, err := o.resolve(route, zap.NewNop())
				require.NoError(t, err)
				override := s.overrides[0]
				option := override.setting.Option
				c, addr := g.routes(t, "h1 h2c", fmt.Sprintf("sockopt /held {\n%s %s\n}", r.name, want.sample))
				client, conn := singleClient(t, h2c)
				getStars(t, client, "http://"+addr+"/")
				served, _ := acceptedSocket(t, conn())
				base, err := saved(served, option)
				require.NoError(t, err)
				require.NotEqual(t, override.effective, base)

				for range 2 {
					answered := make(chan error, 1)
					go func() { answered <- get(t.Context(), client, "http://"+addr+"/held") }()
					<-g.entered["/held"]
					during, err := saved(served, option)
					require.NoError(t, err)
					require.Equal(t, override.effective, during)
					g.leave["/held"] <- struct{}{}
					require.NoError(t, <-answered)
					// net/http says that a connection is idle after the client has the response.
					require.Eventually(t, func() bool {
						after, err := saved(served, option)
						return err == nil && after == base
					}, patience, time.Millisecond, "%v again", base)
				}
				getStars(t, client, "http://"+addr+"/")
				require.NotContains(t, c.log(), "refused")
			})
		}
	}
}

// TestRouteRestoresDerivedPriority: setting the traffic class sets the priority.
func TestRouteRestoresDerivedPriority(t *testing.T) {
	g := newGate(t, "/held")
	addr := address(t)
	run(t, wrappers("sockopt {\npriority 5\n}\n"+observe),
		fmt.Sprintf("http://%s {\nsockopt {\ndscp cs1\n}\nreverse_proxy %s\n}", addr, g.Listener.Addr()))
	client, conn := singleClient(t, false)
	getStars(t, client, "http://"+addr+"/")
	served, _ := acceptedSocket(t, conn())
	require.Eventually(t, func() bool {
		class, err := socket.Get(served, socket.TrafficClass)
		priority, priorityErr := socket.Get(served, socket.Priority)
		return err == nil && priorityErr == nil && class.Number == 0 && priority.Number == 5
	}, patience, time.Millisecond)
}

// TestRouteOverlap has two streams of a connection name the same option.
func TestRouteOverlap(t *testing.T) {
	const base, a, b = 0, 3, 5
	for _, test := range []struct {
		name  string
		first string // to leave
		then  int64
	}{
		{"the later one leaves first", "/b", a},
		{"the earlier one leaves first", "/a", b},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGate(t, "/a", "/b")
			_, addr := g.routes(t, "h1 h2c", fmt.Sprintf("sockopt /a {\npriority %d\n}\nsockopt /b {\npriority %d\n}", a, b))
			client, conn := singleClient(t, true)
			getStars(t, client, "http://"+addr+"/")
			served, _ := acceptedSocket(t, conn())
			has := func(want int64) {
				t.Helper()
				got, err := socket.Get(served, socket.Priority)
				require.NoError(t, err)
				require.Equal(t, want, got.Number)
			}
			answered := map[string]chan error{"/a": make(chan error, 1), "/b": make(chan error, 1)}
			enter := func(path string) {
				go func() { answered[path] <- get(t.Context(), client, "http://"+addr+path) }()
				<-g.entered[path]
			}
			leave := func(path string, then int64) {
				g.leave[path] <- struct{}{}
				require.NoError(t, <-answered[path])
				// The last frame may reach the client before the handler returns.
				require.Eventually(t, func() bool {
					got, err := socket.Get(served, socket.Priority)
					return err == nil && got.Number == then
				}, patience, time.Millisecond)
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
	getStars(t, client, "http://"+addr+"/")
	served, _ := acceptedSocket(t, conn())
	options := []socket.Option{socket.Priority, socket.NotSentLowat, socket.TrafficClass, socket.UserTimeout}
	base := make([]socket.Saved, len(options))
	for i, o := range options {
		var err error
		base[i], err = saved(served, o)
		require.NoError(t, err)
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
				if err != nil || string(body) != string(stars) {
					t.Errorf("%d bytes, %v", len(body), err)
				}
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		for i, o := range options {
			if now, err := saved(served, o); err != nil || now != base[i] {
				return false
			}
		}
		sendBuffer, err := saved(served, socket.SendBuffer)
		return err == nil && !sendBuffer.Fixed
	}, patience, time.Millisecond)
	conn() // it was one
}

// TestRouteCounts counts the system calls of route options: one in and one out for
// each, and none where the value is there already.
func TestRouteCounts(t *testing.T) {
	var l lineup
	const requests = 200 // over two connections
	for _, lines := range []string{
		"",
		"sockopt {\npriority 3\nuser_timeout 30s\n}",
		"sockopt {\npriority 0\nnodelay on\n}",
		"sockopt /elsewhere {\npriority 3\n}",
	} {
		l.add(t, wrapStock, protocolPlain, lines+"\necho_payload")
	}
	system := l.record(t, "setsockopt,getsockopt", func(t *testing.T) {
		for _, c := range l.contenders {
			askInTurn(t, c, requests)
		}
	})
	count := func(call string, c contender) int {
		return len(system.like("^" + call + `\(` + c.onServer(t)))
	}
	stock, two, there, elsewhere := l.contenders[0], l.contenders[1], l.contenders[2], l.contenders[3]
	t.Logf("two options: %d setsockopt, %d getsockopt for %d requests over two connections",
		count("setsockopt", two)-count("setsockopt", stock), count("getsockopt", two)-count("getsockopt", stock), requests)
	require.Equal(t, count("setsockopt", stock)+requests*2*2, count("setsockopt", two))
	require.Equal(t, count("getsockopt", stock)+2*2, count("getsockopt", two))
	require.Equal(t, count("setsockopt", stock), count("setsockopt", there))
	require.Equal(t, count("setsockopt", stock), count("setsockopt", elsewhere))
	require.Equal(t, count("getsockopt", stock), count("getsockopt", elsewhere))
}

// TestObservingAllocatesLittle counts the allocations of a request: of tcp_info
// with a placeholder that is used, and of two options that change.
func TestObservingAllocatesLittle(t *testing.T) {
	accepted, _ := tcpPair(t)
	conn := &served{tcp: accepted, settles: true}
	o := Options{Priority: new(Number(3)), UserTimeout: new(Duration(30 * time.Second))}
	s, err := o.resolve(route, zap.NewNop())
	require.NoError(t, err)
	handler := &Handler{settings: s, report: newReport(countersOf(origin{address: "of its own"}), zap.NewNop())}
	repl := caddy.NewReplacer()
	ctx := context.WithValue(t.Context(), servedKey{}, conn)
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, repl)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/", nil)
	require.NoError(t, err)
	nothing := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

	options := testing.AllocsPerRun(1000, func() {
		_ = handler.ServeHTTP(nil, r, nothing)
		conn.releaseAll()
	})
	info := testing.AllocsPerRun(1000, func() {
		asked := askedInfo{tcp: conn.tcp}
		_, _ = asked.placeholder(infoPrefix + "rtt")
	})
	t.Logf("%v allocations for two options, %v for a placeholder", options, info)
	require.LessOrEqual(t, options, 6.0)
	require.LessOrEqual(t, info, 7.0)
}

// TestRouteOfUpgradedConnection has the options stay, and nothing be kept of a connection
// of which net/http says no more.
func TestRouteOfUpgradedConnection(t *testing.T) {
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer backend.Close()
	go func() {
		if conn, err := backend.Accept(); err == nil {
			echoLines(conn)
		}
	}()
	addr := address(t)
	run(t, wrappers("sockopt\n"+observe), fmt.Sprintf("http://%s {\nsockopt {\npriority 3\n}\nreverse_proxy %s\n}", addr, backend.Addr()))
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
	conn, _ := acceptedSocket(t, client)
	during, err := saved(conn, socket.Priority)
	require.NoError(t, err)
	require.EqualValues(t, 3, during.Value.Number)
	settling.Range(func(key, _ any) bool {
		require.NotEqual(t, client.LocalAddr(), key.(net.Conn).RemoteAddr())
		return true
	})
}

// TestRouteOfClosedConnection is nothing that a connection refused.
func TestRouteOfClosedConnection(t *testing.T) {
	accepted, _ := tcpPair(t)
	o := Options{Priority: new(Number(3)), DSCP: new(DSCP(46))}
	s, err := o.resolve(route, zap.NewNop())
	require.NoError(t, err)
	conn, r := &served{tcp: accepted}, newReport(countersOf(origin{address: "closed"}), zap.NewNop())
	require.NoError(t, accepted.Close())
	h := &hold{s.overrides, r}
	conn.acquire(h)
	conn.release(h)
	require.Equal(t, countersNow{Refused: []refusal{}}, r.now())
}

// TestRouteOverUnixSocket passes requests through, and says so once.
func TestRouteOverUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	c := run(t, "", "http:// {\nbind unix/"+path+"\ntcp_info\nheader X-RTT \"{http.tcp_info.rtt}\"\nsockopt {\npriority 3\n}\necho_payload\n}")
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	defer client.CloseIdleConnections()
	for range 2 {
		getStars(t, client, "http://localhost/")
	}
	require.Equal(t, 1, strings.Count(c.log(), "a request came over no TCP connection"))
}

// TestRouteOverHTTP3 passes requests through, too.
func TestRouteOverHTTP3(t *testing.T) {
	var l lineup
	l.certify(t)
	addr := address(t)
	c := spawn(t, "", fmt.Sprintf("https://%s {\ntls %s %[2]s\ntcp_info\nheader X-RTT \"{http.tcp_info.rtt}\"\nsockopt {\npriority 3\n}\necho_payload\n}", addr, l.cert))
	transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: l.roots, ServerName: "127.0.0.1"}}
	defer transport.Close()
	client := &http.Client{Transport: transport, Timeout: patience}
	for range 2 {
		getStars(t, client, "https://"+addr+"/")
	}
	require.Equal(t, 1, strings.Count(c.log(), `a request came over no TCP connection; it goes on without the options","proto":"HTTP/3.0"`))
}

// TestStatusShowsRoutes has the admin API show what a route names.
func TestStatusShowsRoutes(t *testing.T) {
	addr := address(t)
	c := run(t, "", fmt.Sprintf("http://%s {\nsockopt {\nsend_buffer 64KiB\n}\necho_payload\n}", addr))
	_, answer := c.api(http.MethodGet, adminPath, "", "")
	var shown struct {
		Routes json.RawMessage `json:"routes"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &shown))
	require.JSONEq(t, `[{
		"server": "srv0",
		"options": [{"option": "send_buffer", "requested": "64KiB", "effective": "64KiB", "getsockopt": 131072}],
		"counters": {"connections": 0, "acknowledged": 0, "unreachable": 0, "suspected_stalls": 0, "refused": []}
	}]`, string(shown.Routes))
	require.NoError(t, caddy.Stop())
	require.Empty(t, activeRoutes.now())
}

// TestRouteCannotBe has configurations of a route refused at load.
func TestRouteCannotBe(t *testing.T) {
	for _, test := range []struct{ name, lines, want string }{
		{"no option", "", "sockopt names no option for its route; it can be nodelay, delayed_ack_max"},
		{"of the listener", "keepalive on", "keepalive cannot be set here, but on accepted connections or on connections to backends"},
		{"quickack", "quickack on", "quickack cannot be set here"},
		{"metrics", "metrics", "metrics cannot be set here"},
		{"unreadable", "raw 1 32 65536", "cannot be read, so that it could not be put back"},
		{"bad value", "priority -1", "-1 is not from 0"},
		{"unknown", "nagle off", `unknown option \"nagle\"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, client := serve(t, "sockopt")
			status, answer := c.load("text/caddyfile", c.config("", fmt.Sprintf("http://%s {\nsockopt {\n%s\n}\necho_payload\n}", c.addr, test.lines)))
			require.Equal(t, http.StatusBadRequest, status)
			require.Contains(t, answer, test.want)
			client.get(t)
		})
	}
}
