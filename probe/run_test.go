package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const patience = 30 * time.Second

// scripted is a server that hands each connection to serve.
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

// answering is a server that answers each request, as often as it is to.
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

// TestServers probes servers that behave in every way that HTTP/1.x knows. None of
// them holds segments back, and Linux delays their acknowledgements, but for the
// first of a connection.
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
			require.NoError(t, r.Print(&text))
			require.Contains(t, text.String(), "Verdict: "+string(r.Verdict))
			encoded, err := json.Marshal(r)
			require.NoError(t, err)
			require.Contains(t, string(encoded), `"p50_seconds"`)
		})
	}
}

// TestErrors probes what gives no verdict. Each ends with an error that says why.
func TestErrors(t *testing.T) {
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, refused.Close())
	tls := httptest.NewTLSServer(nil)
	defer tls.Close()
	for _, test := range []struct{ name, url, want string }{
		{"refused", "http://" + refused.Addr().String(), "connection refused"},
		{"never answers", scripted(t, func(_ net.Conn, r *bufio.Reader) { _, _ = r.WriteTo(io.Discard) }), "no answer within the timeout"},
		{"garbage", scripted(t, func(c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, "220 smtp.example.com ESMTP\r\n") }), "does not speak HTTP/1.x"},
		{"garbage after HTTP/", answering(t, 1, "HTTP/one\r\n\r\n"), "does not speak HTTP/1.x"},
		{"closes at once", scripted(t, func(net.Conn, *bufio.Reader) {}), ""},
		{"resets", scripted(t, func(c net.Conn, r *bufio.Reader) {
			_, _ = r.ReadByte()
			_ = c.(*net.TCPConn).SetLinger(0)
		}), "connection reset"},
		{"breaks off", answering(t, 1, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok"), "broke off after 2 bytes"},
		{"unknown certificate", tls.URL, "--insecure"},
		{"https to http", strings.Replace(answering(t, 1, "HTTP/1.1 200 OK\r\n\r\n"), "http:", "https:", 1), ""},
		{"http to https", strings.Replace(tls.URL, "https:", "http:", 1), ""},
		{"no URL", "localhost:8080", "is not a URL such as"},
		{"no host", "http:///x", "is not a URL such as"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			timeout := patience
			if test.name == "never answers" {
				timeout = 50 * time.Millisecond
			}
			r, err := Run(ctx, Options{URL: test.url, Requests: 5, Timeout: timeout})
			if test.name == "http to https" { // Go's server says so in HTTP
				require.NoError(t, err)
				require.Equal(t, http.StatusBadRequest, r.Status)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, test := range []struct {
		o    Options
		want string
	}{
		{Options{Requests: 4}, "at least 5"},
		{Options{Requests: 10_000}, "at most 10000"},
		{Options{Requests: -1}, "at least 5"},
		{Options{Timeout: -1}, "timeout"},
		{Options{BodySize: -1}, "body size"},
		{Options{Method: "GET /\r\n"}, "method"},
	} {
		test.o.URL = "http://localhost"
		_, err := test.o.Plan()
		require.ErrorContains(t, err, test.want)
	}
	plan, err := Options{URL: "http://localhost"}.Plan()
	require.NoError(t, err)
	require.Equal(t, Plan{Requests: 280, Connections: 35}, plan)
}

// TestRequests holds what is sent: that much as is planned, as it is named.
func TestRequests(t *testing.T) {
	var requests atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) != 1000 || r.Method != http.MethodPost || r.Header.Get("X-Named") != "a" ||
			r.Host != "example.com" || r.URL.RequestURI() != "/path?q=1" || r.UserAgent() != userAgent {
			http.Error(w, fmt.Sprint(r.Method, r.Header, len(body), err), http.StatusTeapot)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	o := Options{
		URL: server.URL + "/path?q=1", Method: http.MethodPost, BodySize: 1000, Requests: 5, Insecure: true,
		Header: http.Header{"X-Named": {"a"}, "Host": {"example.com"}},
	}
	r, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, http.StatusFound, r.Status)
	require.Equal(t, "/elsewhere", r.Location)
	plan, err := o.Plan()
	require.NoError(t, err)
	require.LessOrEqual(t, requests.Load(), int64(plan.Requests))
}

// TestCancel ends a run, and leaves nothing.
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
