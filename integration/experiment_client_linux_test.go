package integration_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// The experiment of 2009, with its clients: over one keep-alive connection, the server
// with Nagle's algorithm waits for a delayed ACK in every response. With -v it logs the
// rates.
func TestExperiment2009(t *testing.T) {
	t.Parallel() // it waits most of the time
	n := lab.Long(30, 100)
	clients := []struct {
		name     string
		measure  func(t *testing.T, flags []string, requests int, addr string) (rate float64)
		requests int
		stalls   bool // against the server of 2009
	}{
		{fmt.Sprintf("httperf --num-conn %d", n), httperf, n, false},
		{fmt.Sprintf("httperf --num-call %d", n), httperf, n, true},
		{fmt.Sprintf("httperf --num-conns=1 --num-calls=%d --send-buffer=4096 --recv-buffer=16384", lab.Long(n, 500)), httperf, lab.Long(n, 500), true},
		{fmt.Sprintf("ab -n %d -k", n), ab, n, true},
		{"nc", nc, n, false},
	}
	var l lab.Sites
	then := l.Add(t, lab.NagleOn, lab.Plain, "echo_payload")
	cure := l.Add(t, lab.Auto, lab.Plain, "echo_payload")
	stock := l.Add(t, lab.Stock, lab.Plain, "echo_payload")
	l.Spawn(t)

	table := lab.NewTable("client", "`nodelay off`", "bare `sockopt`", "stock Caddy")
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			flags := strings.Fields(c.name)[1:]
			of := func(server lab.Site) func() float64 {
				return func() float64 { return c.measure(t, flags, c.requests, server.Addr) }
			}
			slow, fast, plain := measureAgain(of(then)), measureAgain(of(cure)), measureAgain(of(stock))
			table.Row("`"+c.name+"`", perSecond(lab.Median(slow)), perSecond(lab.Median(fast)), perSecond(lab.Median(plain)))
			if c.stalls {
				requireStalls(t, slow)
				requireNoStalls(t, of(cure), fast...)
			}
		})
	}
	t.Logf("requests a second:\n\n%s", table)
}

// polling is held by the one httperf that runs: it polls, and takes a core for itself.
var polling sync.Mutex

// httperf measures with the original tool and checks its account of the replies.
func httperf(t *testing.T, flags []string, requests int, addr string) (rate float64) {
	t.Helper()
	polling.Lock()
	defer polling.Unlock()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	output := lab.Play(t, nil, "httperf", append([]string{"--hog", "--server", host, "--port", port}, flags...)...)
	require.Equal(t, requests, int(lab.Figure(t, output, `replies (\d+) test-duration`)))
	require.Equal(t, requests, int(lab.Figure(t, output, `Reply status: 1xx=0 2xx=(\d+) 3xx=0 4xx=0 5xx=0`)))
	require.Equal(t, len(lab.Stars), int(lab.Figure(t, output, `Reply size \[B\]: header \S+ content (\S+)`)))
	require.Zero(t, lab.Figure(t, output, `Errors: total (\d+)`))
	return lab.Figure(t, output, `Request rate: (\S+) req/s`)
}

// ab measures with ApacheBench, which speaks HTTP/1.0 with keep-alive.
func ab(t *testing.T, flags []string, requests int, addr string) (rate float64) {
	t.Helper()
	output := lab.Play(t, nil, "ab", append(flags, "http://"+addr+"/")...)
	require.Equal(t, requests, int(lab.Figure(t, output, `Complete requests: +(\d+)`)))
	require.Equal(t, requests, int(lab.Figure(t, output, `Keep-Alive requests: +(\d+)`)))
	require.Zero(t, lab.Figure(t, output, `Failed requests: +(\d+)`))
	require.Equal(t, len(lab.Stars), int(lab.Figure(t, output, `Document Length: +(\d+)`)))
	require.Equal(t, requests*len(lab.Stars), int(lab.Figure(t, output, `HTML transferred: +(\d+)`)))
	return lab.Figure(t, output, `Requests per second: +(\S+)`)
}

// nc sends all requests at once and reads all responses. Its rate includes the
// start of the program.
func nc(t *testing.T, _ []string, requests int, addr string) (rate float64) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	request := "GET / HTTP/1.1\r\nHost: " + addr + "\r\n"
	last := "Connection: close\r\n"
	pipelined := strings.Repeat(request+"\r\n", requests-1) + request + last + "\r\n"

	begin := time.Now()
	output := lab.Play(t, strings.NewReader(pipelined), "nc", host, port)
	rate = float64(requests) / time.Since(begin).Seconds()

	reader := bufio.NewReader(strings.NewReader(output))
	for range requests {
		resp, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.True(t, bytes.Equal(lab.Stars, body), "body: %.100q", body)
	}
	_, err = reader.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	return rate
}
