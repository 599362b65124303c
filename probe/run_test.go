package probe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

const patience = 30 * time.Second

// scripted is a server that passes each connection to serve.
func scripted(t *testing.T, serve func(net.Conn, *bufio.Reader)) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(patience))
				serve(conn, bufio.NewReader(conn))
			}()
		}
	}()
	return "http://" + ln.Addr().String() + "/"
}

// answering is a server that answers so many requests of each connection.
func answering(t *testing.T, times int, response string) (url string) {
	t.Helper()
	return scripted(t, func(conn net.Conn, r *bufio.Reader) {
		for range times {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(conn, response)
		}
	})
}

const forever = 1 << 30

// TestServers probes servers that use every form of a response. None of them holds
// segments back. Linux delays their acknowledgements, except for a connection's first.
func TestServers(t *testing.T) {
	for _, test := range []struct {
		name, response string
		times          int
		closes         bool // after each response
	}{
		{name: "length", response: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", times: forever},
		{name: "chunked", response: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", times: forever},
		{name: "100 Continue first", response: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", times: forever},
		{name: "103 Early Hints first", response: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", times: forever},
		{name: "no content", response: "HTTP/1.1 204 No Content\r\n\r\n", times: forever},
		{name: "closes after ten", response: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", times: 10},
		{name: "says that it closes", response: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", times: 1, closes: true},
		{name: "HTTP/1.0", response: "HTTP/1.0 200 OK\r\n\r\nok", times: 1, closes: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // it waits for timers most of the time
			r, err := Run(t.Context(), Options{URL: answering(t, test.times, test.response), Requests: 10, Timeout: patience})
			require.NoError(t, err)
			switch {
			case test.closes:
				require.Equal(t, NoStall, r.Verdict, "%q", r.Evidence)
			case runtime.GOOS == "linux" && test.times == forever:
				require.Equal(t, DelayedAck, r.Verdict, "%q", r.Evidence)
			default: // some of its connections live long enough for the timer, or none
				require.Contains(t, []Verdict{NoStall, DelayedAck}, r.Verdict, "%q", r.Evidence)
			}
			for _, e := range r.Experiments[1:] {
				if test.closes {
					require.Empty(t, e.Seconds)
					require.Equal(t, errCloses.Error(), e.Note)
				} else if e.Number < 6 && (runtime.GOOS == "linux" || e.Number != 3) {
					require.Len(t, e.Seconds, 10, e.Name)
				}
			}
			var text strings.Builder
			require.NoError(t, Print(&text, r))
			require.Contains(t, text.String(), "Verdict: "+string(r.Verdict))
			encoded, err := json.Marshal(r)
			require.NoError(t, err)
			require.Contains(t, string(encoded), `"p50_seconds"`)
		})
	}
}

// TestErrors probes what gives no verdict. Each ends with an error that says why.
func TestErrors(t *testing.T) {
	refused := lab.Address(t)
	tls := httptest.NewTLSServer(nil)
	defer tls.Close()
	secret := "http://me:secret@" + refused
	for _, test := range []struct {
		name, want string
		o          Options
	}{
		{"refused", "connection refused", Options{URL: "http://" + refused}},
		{"never answers", "no answer within the timeout", Options{URL: scripted(t, silent), Timeout: 50 * time.Millisecond}},
		{"begins to answer", "no answer within the timeout: the header of the response broke off", Options{URL: scripted(t, then("HTTP", silent)), Timeout: 50 * time.Millisecond}},
		{"begins a header", "no answer within the timeout: the header of the response broke off", Options{URL: scripted(t, then("HTTP/1.1 200 OK\r\nX", silent)), Timeout: 50 * time.Millisecond}},
		{"begins a frame", "no answer within the timeout", Options{URL: scripted(t, then("\x00\x00", silent)), Timeout: 50 * time.Millisecond, HTTP2: true}},
		{"closes within its first word", "header of the response broke off: unexpected EOF", Options{URL: answering(t, 1, "HTT")}},
		{"closes within the header", "header of the response broke off: unexpected EOF", Options{URL: answering(t, 1, "HTTP/1.1 200 OK\r\nX: ")}},
		{"never answers in the budget", "no answer within the budget", Options{URL: scripted(t, silent), Budget: 50 * time.Millisecond}},
		{"garbage", "does not speak HTTP", Options{URL: scripted(t, saying("220 smtp.example.com ESMTP\r\n"))}},
		{"garbage after HTTP/", "does not speak HTTP", Options{URL: answering(t, 1, "HTTP/one\r\n\r\n")}},
		{"garbage to HTTP/2", "does not speak HTTP/2", Options{URL: answering(t, 1, "HTTP/1.1 400 Bad Request\r\n\r\n"), HTTP2: true}},
		{"closes at once", "", Options{URL: scripted(t, func(net.Conn, *bufio.Reader) {})}},
		{"resets", "connection reset", Options{URL: scripted(t, func(c net.Conn, r *bufio.Reader) {
			_, _ = r.ReadByte()
			_ = c.(*net.TCPConn).SetLinger(0)
		})}},
		{"breaks off", "broke off after 2 bytes", Options{URL: answering(t, 1, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok")}},
		{"body too long", "more than 67108864 bytes", Options{URL: answering(t, 1, "HTTP/1.1 200 OK\r\nContent-Length: 67108865\r\n\r\nok")}},
		{"body without end", "more than 67108864 bytes", Options{URL: scripted(t, endless("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("*", 1<<16)))}},
		{"header without end", "header has more than 1048576 bytes", Options{URL: scripted(t, endless("HTTP/1.1 200 OK\r\n", "X: "+strings.Repeat("*", 1000)+"\r\n"))}},
		{"header field without end", "header has more than 1048576 bytes", Options{URL: scripted(t, endless("HTTP/1.1 200 OK\r\nX: ", "*"))}},
		{"1xx without end", "header has more than 1048576 bytes", Options{URL: scripted(t, endless("", "HTTP/1.1 103 Early Hints\r\n\r\n"))}},
		{"unknown certificate", "--insecure", Options{URL: tls.URL}},
		{"https to http", "", Options{URL: strings.Replace(answering(t, 1, "HTTP/1.1 200 OK\r\n\r\n"), "http:", "https:", 1)}},
		{"http to https", "this port speaks TLS; probe " + tls.URL + "/path instead", Options{URL: strings.Replace(tls.URL, "https:", "http:", 1) + "/path"}},
		{"h2c to https", "this port speaks TLS", Options{URL: strings.Replace(tls.URL, "https:", "http:", 1), HTTP2: true}},
		{"no URL", "is not a URL such as", Options{URL: "localhost:8080"}},
		{"no scheme", "is not a URL such as", Options{URL: "127.0.0.1:8080"}},
		{"no host", "is not a URL such as", Options{URL: "http:///x"}},
		{"a password, refused", "connection refused", Options{URL: secret}},
		{"a password in what is no URL", "is not a URL such as", Options{URL: "http://me:secret@:x"}},
		{"a password with a slash", "is not a URL such as", Options{URL: "http://me:secret/@localhost"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.o.Timeout == 0 {
				test.o.Timeout = patience
			}
			test.o.Requests = 5
			_, err := Run(t.Context(), test.o)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

// silent reads and never answers.
func silent(_ net.Conn, r *bufio.Reader) { _, _ = r.WriteTo(io.Discard) }

// saying answers without being asked.
func saying(text string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, text) }
}

// then says something before it serves.
func then(text string, serve func(net.Conn, *bufio.Reader)) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		saying(text)(c, r)
		serve(c, r)
	}
}

// endless answers, and repeats the end of its answer until the client closes.
func endless(begin, repeated string) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		w := bufio.NewWriter(c)
		_, err := w.WriteString(begin)
		for err == nil {
			_, err = w.WriteString(repeated)
		}
	}
}

// TestHostile: what a server says is printed without what a terminal obeys.
func TestHostile(t *testing.T) {
	const hostile = "a\u009b31m\u009d0;x\u009c\u202eb"
	response := "HTTP/1.1 302 " + hostile + "\r\nServer: " + hostile + "\r\nLocation: /" + hostile + "\r\nContent-Length: 0\r\n\r\n"
	r, err := Run(t.Context(), Options{URL: answering(t, forever, response), Requests: 5})
	require.NoError(t, err)
	var text, picture bytes.Buffer
	require.NoError(t, Print(&text, r))
	require.NoError(t, SVG(&picture, r))
	encoded, err := json.Marshal(r)
	require.NoError(t, err)
	_, garbage := Run(t.Context(), Options{URL: scripted(t, saying(hostile+"\x1b[2J")), Requests: 5})
	require.Error(t, garbage)
	_, header := Run(t.Context(), Options{URL: answering(t, 1, "HTTP/1.1 200 OK\r\n"+hostile+"\r\n\r\n"), Requests: 5})
	require.Error(t, header)
	for _, printed := range []string{text.String(), picture.String(), string(encoded), garbage.Error(), header.Error()} {
		require.Empty(t, strings.Trim(strings.Map(func(r rune) rune {
			if unicode.IsPrint(r) {
				return -1
			}
			return r
		}, printed), "\n\t"))
	}
	require.Contains(t, text.String(), `from a\u009b31m\u009d0;x\u009c\u202eb`)
}

// TestPassword is sent and never printed.
func TestPassword(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "somebody" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer server.Close()
	o := Options{URL: strings.Replace(server.URL, "http://", "http://somebody:secret@", 1), Requests: 5}
	plan, err := o.Plan()
	require.NoError(t, err)
	require.Equal(t, server.URL, plan.URL)
	r, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, r.Status)
	var printed bytes.Buffer
	require.NoError(t, Print(&printed, r))
	require.NoError(t, SVG(&printed, r))
	require.NoError(t, json.NewEncoder(&printed).Encode(r))
	require.NotContains(t, printed.String(), "secret")
	require.NotContains(t, printed.String(), "somebody")
}

// TestBudget: a run ends in time, and reports what it measured until then.
func TestBudget(t *testing.T) {
	const slow = 300 * time.Millisecond
	url := scripted(t, func(c net.Conn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			time.Sleep(slow) // the work of a handler
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	begin := time.Now()
	r, err := Run(t.Context(), Options{URL: url, Budget: 5 * slow})
	require.NoError(t, err)
	require.Less(t, time.Since(begin), patience)
	require.Equal(t, OtherSlow, r.Verdict, "%q", r.Evidence)
	require.NotEmpty(t, r.result(1).Seconds)
	require.Empty(t, r.result(5).Seconds)
	require.Contains(t, r.result(5).Note, "--budget")
	require.Nil(t, r.result(5).P50)
}

// TestMemory: requests share one block of the body, and nothing is kept of responses.
func TestMemory(t *testing.T) {
	const body = 4 << 20
	var sent atomic.Int64
	block := make([]byte, 64<<10)
	for _, http2 := range []bool{false, true} {
		server := unstarted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			for left := n; left > 0; left -= int64(len(block)) {
				_, _ = w.Write(block)
			}
			sent.Add(n)
		}))
		server.Start()
		defer server.Close()
		sent.Store(0)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Run(t.Context(), Options{URL: server.URL, Method: http.MethodPost, BodySize: body, Requests: 5, HTTP2: http2, Budget: 2 * time.Second, Timeout: patience})
		require.NoError(t, err)
		runtime.ReadMemStats(&after)
		require.Greater(t, sent.Load(), int64(10*body))
		require.Less(t, int64(after.TotalAlloc-before.TotalAlloc), sent.Load()/2, "client and server: a copy of each body would be all of it") //nolint:gosec // no such memory
	}
}

// unstarted is a server that speaks HTTP/1.1, h2c and, if it has TLS, HTTP/2.
func unstarted(handler http.Handler) *httptest.Server {
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetHTTP2(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	return server
}

// TestVersions: over https the server chooses, over http and with options the user.
func TestVersions(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", r.Proto)
		_, _ = w.Write(make([]byte, 10_000))
	})
	plain, secure := unstarted(handler), unstarted(handler)
	plain.Start()
	t.Cleanup(plain.Close)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for _, test := range []struct {
		name, server string
		o            Options
	}{
		{"http", "HTTP/1.1", Options{URL: plain.URL}},
		{"h2c", "HTTP/2.0", Options{URL: plain.URL, HTTP2: true}},
		{"https", "HTTP/2.0", Options{URL: secure.URL}},
		{"https, HTTP/1.1", "HTTP/1.1", Options{URL: secure.URL, HTTP1: true}},
		{"https, HTTP/2", "HTTP/2.0", Options{URL: secure.URL, HTTP2: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // it waits for timers most of the time
			test.o.Requests, test.o.Insecure = 5, true
			r, err := Run(t.Context(), test.o)
			require.NoError(t, err)
			require.Equal(t, test.server, r.Server)
			require.Equal(t, strings.TrimSuffix(test.server, ".0"), r.Protocol)
			for _, e := range r.Experiments {
				if runtime.GOOS == "linux" || !e.ackAtOnce {
					require.Len(t, e.Seconds, 5, "%s: %s", e.Name, e.Note)
				}
			}
			var text, picture bytes.Buffer
			require.NoError(t, Print(&text, r))
			require.NoError(t, SVG(&picture, r))
			encoded, err := json.Marshal(r)
			require.NoError(t, err)
			for _, printed := range []string{text.String(), picture.String(), string(encoded)} {
				require.Equal(t, strings.HasPrefix(test.name, "https"), strings.Contains(printed, "after the handshake, Nagle on"))
			}
			require.Equal(t, strings.HasPrefix(test.name, "https"), strings.Contains(picture.String(), `r="3" class="e8"`))
			require.Contains(t, string(encoded), `"path_seconds"`)
			want := []Verdict{DelayedAck}
			if test.name == "https, HTTP/1.1" { // over HTTP/2 the server's settings answer Finished
				// Kernels whose TCP_PINGPONG_THRESH is 3 acknowledge at once on a new connection.
				want = append(want, DelayedAck+and+AfterHandshake)
			}
			if runtime.GOOS == "linux" {
				require.Contains(t, want, r.Verdict, "%q", r.Evidence)
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, test := range []struct {
		o    Options
		want string
	}{
		{Options{Requests: 4}, "at least 5"},
		{Options{Requests: 10_000}, "than the 10000"},
		{Options{Requests: 1 << 62}, "than the 10000"},
		{Options{Requests: -1}, "at least 5"},
		{Options{Timeout: -1}, "timeout"},
		{Options{Budget: -1}, "budget"},
		{Options{BodySize: -1}, "body size"},
		{Options{BodySize: 64 << 20}, "19662897152 bytes in all"},
		{Options{Requests: 1600, BodySize: 64 << 20}, "choose fewer requests or a smaller body"},
		{Options{Method: "GET /\r\n"}, "method"},
		{Options{HTTP1: true, HTTP2: true}, "not both"},
		{Options{Header: http.Header{"X Y": {"1"}}}, `header "X Y" is not a field's name`},
		{Options{Header: http.Header{"X\r\nY": {"1"}}}, "is not a field's name"},
		{Options{Header: http.Header{":path": {"/"}}}, `header ":path" is not a field's name`},
		{Options{Header: http.Header{"": {"1"}}}, `header "" is not a field's name`},
		{Options{Header: http.Header{"X": {"a\r\nY: b"}}}, "header X has a value with a character that cannot be sent"},
		{Options{Header: http.Header{"Host": {"a b"}}}, "header Host has a value"},
		{Options{Header: http.Header{"connection": {"close"}}}, "header Connection is the probe's own"},
		{Options{Header: http.Header{"Content-Length": {"5"}}}, "--body-size is the length of a body"},
	} {
		test.o.URL = "http://localhost"
		_, err := test.o.Plan()
		require.ErrorContains(t, err, test.want)
	}
	plan, err := Options{URL: "http://localhost", BodySize: 10}.Plan()
	require.NoError(t, err)
	require.Equal(t, Plan{URL: "http://localhost", Requests: 293, Connections: 36, Bytes: 2930}, plan)
	plan, err = Options{URL: "HTTPS://localhost"}.Plan()
	require.NoError(t, err)
	require.Equal(t, Plan{URL: "https://localhost", Requests: 313, Connections: 56}, plan)
}

// TestRequests: the requests are those of the options, over both versions, and not
// more than planned.
func TestRequests(t *testing.T) {
	for name, http1 := range map[string]bool{"HTTP/1.1": true, "HTTP/2": false} {
		t.Run(name, func(t *testing.T) { requests(t, Options{HTTP1: http1}) })
	}
}

func requests(t *testing.T, o Options) {
	var requests atomic.Int64
	server := unstarted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) != 100_000 || r.Method != http.MethodPost || r.Header.Get("X-Named") != "a" ||
			r.Host != "example.com" || r.URL.RequestURI() != "/path?q=1" || r.UserAgent() != userAgent {
			http.Error(w, fmt.Sprint(r.Method, r.Header, len(body), err), http.StatusTeapot)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	server.StartTLS()
	defer server.Close()
	o.URL, o.Method, o.BodySize, o.Requests, o.Insecure = server.URL+"/path?q=1", http.MethodPost, 100_000, 5, true
	o.Header = http.Header{"X-Named": {"a"}, "Host": {"example.com"}}
	r, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, http.StatusFound, r.Status)
	require.Equal(t, "/elsewhere", r.Location)
	plan, err := o.Plan()
	require.NoError(t, err)
	require.LessOrEqual(t, requests.Load(), int64(plan.Requests))
}

// TestPreface leaves with the first request of a connection that is timed from its
// handshake: a client with Nagle's algorithm on would wait once more between two writes.
func TestPreface(t *testing.T) {
	target, err := url.Parse("https://localhost/")
	require.NoError(t, err)
	var conn writes
	h, err := newHTTP2(&wire{Conn: &conn, client: newClient(Options{Timeout: patience, Method: http.MethodGet, target: target}, time.Now().Add(patience))}, true)
	require.NoError(t, err)
	require.Empty(t, conn.all)
	err = h.send(false)
	require.NoError(t, err)
	require.Len(t, conn.all, 1)
	require.Contains(t, conn.all[0], "PRI * HTTP/2.0")
}

// writes is a connection that keeps what is written.
type writes struct {
	net.Conn
	all []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.all = append(w.all, string(p))
	return len(p), nil
}

func (w *writes) SetDeadline(time.Time) error { return nil }

// TestEndWithTheResponse: over TLS 1.2 the last bytes of a connection and its end may come in one read.
func TestEndWithTheResponse(t *testing.T) {
	target, err := url.Parse("https://localhost/")
	require.NoError(t, err)
	conn := reads{Reader: iotest.DataErrReader(strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"))}
	h := newHTTP1(&wire{Conn: conn, client: newClient(Options{Timeout: patience, Method: http.MethodGet, target: target}, time.Now().Add(patience))})
	closes, err := h.ask(1, false, func() {})
	require.NoError(t, err)
	require.True(t, closes)
}

// reads is a connection that is only read.
type reads struct {
	net.Conn
	io.Reader
}

func (r reads) Read(p []byte) (int, error) { return r.Reader.Read(p) }
func (reads) Write(p []byte) (int, error)  { return len(p), nil }
func (reads) SetDeadline(time.Time) error  { return nil }
func (reads) Close() error                 { return nil }

// TestCancel ends a run, which leaves nothing.
func TestCancel(t *testing.T) {
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	url := scripted(t, func(_ net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		close(asked)
		_, _ = r.WriteTo(io.Discard)
	})
	go func() {
		<-asked
		cancel()
	}()
	_, err := Run(ctx, Options{URL: url, Timeout: patience})
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, patience, time.Millisecond,
		"the listener's, and the one that looks")
}
