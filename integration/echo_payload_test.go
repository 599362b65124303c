package integration_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

func TestEchoPayload(t *testing.T) {
	for _, test := range []struct {
		name        string
		lines       string
		payload     string
		contentType string
	}{
		{name: "default", lines: "echo_payload", payload: strings.Repeat("*", 10_000)},
		{name: "size as argument", lines: "echo_payload 1KiB", payload: strings.Repeat("*", 1024)},
		{name: "size in the block", lines: "echo_payload {\nsize 70000\n}", payload: strings.Repeat("*", 70_000)},
		{name: "size 1", lines: "echo_payload 1", payload: "*"},
		{name: "size 0", lines: "echo_payload 0", payload: ""},
		{name: "size 0 in pieces", lines: "echo_payload 0 {\nwrite_size 10\nflush_headers\n}", payload: ""},
		{name: "one block of memory", lines: "echo_payload 64KiB", payload: strings.Repeat("*", 64<<10)},
		{name: "a block and one", lines: "echo_payload 65537", payload: strings.Repeat("*", 65537)},
		{name: "fill", lines: "echo_payload 5 {\nfill x\n}", payload: "xxxxx"},
		{name: "content type", lines: "echo_payload 5 {\ncontent_type text/x-lab.Stars\n}", payload: "*****", contentType: "text/x-lab.Stars"},
		{name: "in pieces", lines: "echo_payload 1000 {\nwrite_size 300\n}", payload: strings.Repeat("*", 1000)},
		{name: "in pieces larger than a block", lines: "echo_payload 200000 {\nwrite_size 100000\n}", payload: strings.Repeat("*", 200_000)},
		{name: "in one piece larger than the payload", lines: "echo_payload 10 {\nwrite_size 1MiB\n}", payload: strings.Repeat("*", 10)},
		{name: "header by itself", lines: "echo_payload 5 {\nflush_headers\n}", payload: "*****"},
		{name: "everything", lines: "echo_payload {\nsize 7\nfill 0\ncontent_type a/b\nwrite_size 2\nflush_headers\n}", payload: "0000000", contentType: "a/b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr, _ := echo(t, test.lines)
			c := dialLine(t, addr)
			contentType := test.contentType
			if contentType == "" {
				contentType = "text/plain"
			}
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodGet} {
				c.send(method + " /any/path?query HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
				resp, body := c.receive(method)
				require.Equal(t, http.StatusOK, resp.StatusCode, method)
				require.Equal(t, []string{fmt.Sprint(len(test.payload))}, resp.Header["Content-Length"], method)
				require.Equal(t, []string{contentType}, resp.Header["Content-Type"], method)
				require.Empty(t, resp.TransferEncoding, method)
				if method == http.MethodHead {
					require.Empty(t, body)
				} else {
					require.Equal(t, test.payload, body)
				}
			}
			require.Zero(t, c.r.Buffered())
		})
	}
}

func TestEchoKeepsConnectionsAlive(t *testing.T) {
	for _, test := range []struct {
		name       string
		proto      string
		connection string
		stays      bool
		announced  string // Connection in the response
	}{
		{"HTTP/1.1", "HTTP/1.1", "", true, ""},
		{"HTTP/1.1 close", "HTTP/1.1", "close", false, ""},
		{"HTTP/1.0", "HTTP/1.0", "", false, ""},
		{"HTTP/1.0 keep-alive, as ab sends it", "HTTP/1.0", "Keep-Alive", true, "keep-alive"},
	} {
		for _, block := range []string{"echo_payload", "echo_payload {\nwrite_size 1000\nflush_headers\n}"} {
			t.Run(test.name, func(t *testing.T) {
				addr, _ := echo(t, block)
				c := dialLine(t, addr)
				request := "GET / " + test.proto + "\r\nHost: 127.0.0.1\r\n"
				if test.connection != "" {
					request += "Connection: " + test.connection + "\r\n"
				}
				for range 3 {
					c.send(request + "\r\n")
					resp := c.requirePayload()
					require.Equal(t, test.announced, resp.Header.Get("Connection"))
					require.Equal(t, !test.stays, resp.Close)
					if !test.stays {
						c.requireEnd()
						return
					}
				}
			})
		}
	}
}

func TestEchoDropsBodies(t *testing.T) {
	long := strings.Repeat("b", 300_000)
	for _, test := range []struct{ name, request string }{
		{"length", fmt.Sprintf("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s", len(long), long)},
		{"chunked", "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n" +
			strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", len(long)/10, long[:len(long)/10]), 10) + "0\r\n\r\n"},
		{"empty", "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"},
		{"of a GET", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\nbody"},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr, _ := echo(t, "echo_payload")
			c := dialLine(t, addr)
			for range 3 {
				c.send(test.request)
				c.requirePayload()
			}
		})
	}
}

func TestEchoAsksForBodyThatAwaits100(t *testing.T) {
	addr, _ := echo(t, "echo_payload")
	c := dialLine(t, addr)
	for range 3 {
		c.send("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
		resp, _ := c.receive(http.MethodPost)
		require.Equal(t, http.StatusContinue, resp.StatusCode)
		c.send("body")
		c.requirePayload()
	}
}

func TestEchoHonoursBodyLimit(t *testing.T) {
	addr, _ := echo(t, "request_body {\nmax_size 1000\n}\necho_payload")
	for _, test := range []struct {
		size   int
		status int
	}{
		{999, http.StatusOK},
		{1000, http.StatusOK},
		{1001, http.StatusRequestEntityTooLarge},
		{1 << 20, http.StatusRequestEntityTooLarge},
	} {
		t.Run(fmt.Sprint(test.size), func(t *testing.T) {
			c := dialLine(t, addr)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				// The server need not read it all, so an error is none.
				_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
					test.size, strings.Repeat("b", test.size))
			}()
			resp, _ := c.receive(http.MethodPost)
			require.Equal(t, test.status, resp.StatusCode)
			c.Close()
			<-sent
		})
	}
}

func TestEchoRefusesBrokenBody(t *testing.T) {
	addr, _ := echo(t, "echo_payload")
	c := dialLine(t, addr)
	c.send("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n")
	resp, _ := c.receive(http.MethodPost)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
}

func TestEchoPipelined(t *testing.T) {
	for _, block := range []string{"echo_payload", "echo_payload {\nwrite_size 3000\nflush_headers\n}"} {
		addr, _ := echo(t, block)
		c := dialLine(t, addr)
		c.send(strings.Repeat("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 100))
		for range 100 {
			c.requirePayload()
		}
		require.Zero(t, c.r.Buffered())
		require.NoError(t, c.CloseWrite())
		c.requireEnd()
	}
}

func TestEchoClientLeavesInTheMiddle(t *testing.T) {
	addr, caddy := echo(t, "echo_payload 1GiB")
	c := dialLine(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	_, err := io.CopyN(io.Discard, c, 1<<20)
	require.NoError(t, err)
	require.NoError(t, c.SetLinger(0))
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool {
		return strings.Contains(caddy.Logged(), "payload not sent to its end")
	}, lab.Patience, time.Millisecond)
	require.NotContains(t, caddy.Logged(), `"level":"error"`)
}

func TestEchoOverHTTP2(t *testing.T) {
	certificate := lab.Certify(t)
	addr := lab.Address(t)
	secure := strings.Replace(lab.Address(t), "127.0.0.1", "localhost", 1)
	inprocess.Run(t, fmt.Sprintf("servers {\nlistener_wrappers {\n%s\ntls\n}\nprotocols h1 h2 h2c\n}", inprocess.Observer), fmt.Sprintf(
		"http://%s {\necho_payload {\nwrite_size 999\nflush_headers\n}\n}\nhttps://%s {\nbind 127.0.0.1\ntls %s %[3]s\necho_payload\n}",
		addr, secure, certificate.File))
	for _, test := range []struct {
		url       string
		protocols func(*http.Protocols)
	}{
		{"http://" + addr, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }},
		{"https://" + secure, func(p *http.Protocols) { p.SetHTTP2(true) }},
	} {
		transport := &http.Transport{
			Protocols:       new(http.Protocols),
			TLSClientConfig: &tls.Config{RootCAs: certificate.Roots, MinVersion: tls.VersionTLS12},
		}
		test.protocols(transport.Protocols)
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport, Timeout: lab.Patience}
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodGet} {
			t.Run(test.url+" "+method, func(t *testing.T) {
				req, err := http.NewRequest(method, test.url, strings.NewReader(strings.Repeat("b", 200_000)))
				require.NoError(t, err)
				resp, err := client.Do(req)
				require.NoError(t, err)
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.Equal(t, "HTTP/2.0", resp.Proto)
				require.Equal(t, http.StatusOK, resp.StatusCode)
				require.EqualValues(t, 10_000, resp.ContentLength)
				require.Equal(t, "text/plain", resp.Header.Get("Content-Type"))
				if method == http.MethodHead {
					require.Empty(t, body)
				} else {
					requireStars(t, 10_000, body)
				}
			})
		}
	}
}

func TestEchoAmongOtherDirectives(t *testing.T) {
	addr, _ := echo(t, `echo_payload
respond /health "healthy"
encode /gzip gzip
header /replaced >Content-Type plain plainer
header /replaced >Content-Length 1 1`)
	get := func(path string) (*http.Response, []byte) {
		req, err := http.NewRequest(http.MethodGet, "http://"+addr+path, nil)
		require.NoError(t, err)
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		return resp, body
	}
	for range 3 {
		_, body := get("/health")
		require.Equal(t, "healthy", string(body))

		resp, body := get("/")
		require.Equal(t, "text/plain", resp.Header.Get("Content-Type"))
		requireStars(t, 10_000, body)

		resp, body = get("/replaced")
		require.Equal(t, "text/plainer", resp.Header.Get("Content-Type"))
		requireStars(t, 10_000, body)

		resp, body = get("/gzip")
		require.Equal(t, "gzip", resp.Header.Get("Content-Encoding"))
		unzip, err := gzip.NewReader(bytes.NewReader(body))
		require.NoError(t, err)
		body, err = io.ReadAll(unzip)
		require.NoError(t, err)
		requireStars(t, 10_000, body)
	}
}
