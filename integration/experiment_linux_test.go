package integration_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// The experiment of 2009, with its clients: over one keep-alive connection, the
// server with Nagle's algorithm waits for a delayed ACK in every response.
// With -v it logs the table that the README shows.
func TestExperiment2009(t *testing.T) {
	clients := []struct {
		name     string
		measure  func(t *testing.T, flags []string, requests int, addr string) (rate float64)
		requests int
		stalls   bool // against the server of 2009
	}{
		{"httperf --num-conn 100", httperf, 100, false},
		{"httperf --num-call 100", httperf, 100, true},
		{"httperf --num-conns=1 --num-calls=500 --send-buffer=4096 --recv-buffer=16384", httperf, 500, true},
		{"ab -n 100 -k", ab, 100, true},
		{"nc", nc, 100, false},
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
			rate := func(server lab.Site) float64 {
				return typical(func() float64 { return c.measure(t, flags, c.requests, server.Addr) })
			}
			slow, fast, plain := rate(then), rate(cure), rate(stock)
			table.Row("`"+c.name+"`", perSecond(slow), perSecond(fast), perSecond(plain))
			if c.stalls {
				require.Greater(t, fast, 50*slow)
			}
		})
	}
	t.Logf("requests a second:\n\n%s", table)
}

// typical returns the median of as many measurements as fit into a second.
func typical(measure func() float64) float64 {
	const atMost = 15
	var measured []float64
	for begin := time.Now(); len(measured) == 0 || len(measured) < atMost && time.Since(begin) < time.Second; {
		measured = append(measured, measure())
	}
	return lab.Quantile(measured, 0.5)
}

// httperf measures with the original tool and checks its account of the replies.
func httperf(t *testing.T, flags []string, requests int, addr string) (rate float64) {
	t.Helper()
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

func perSecond(rate float64) string {
	if rate < 100 {
		return fmt.Sprintf("%.1f", rate)
	}
	return fmt.Sprintf("%.0f", rate)
}
