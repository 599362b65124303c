package sockopt

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestTCPInfoPlaceholders reads all of them from headers.
func TestTCPInfoPlaceholders(t *testing.T) {
	addr := address(t)
	var lines strings.Builder
	for _, f := range socket.Figures {
		fmt.Fprintf(&lines, "header %s {http.tcp_info.%s}\n", f.Name, f.Name)
	}
	run(t, wrappers("sockopt {\ncongestion reno\n}\n"+observe), "http://"+addr+` {
		tcp_info
		`+lines.String()+`
		header congestion {http.tcp_info.congestion}
		header unknown "{http.tcp_info.unknown}"
		echo_payload
	}`)
	client, conn := singleClient(t, false)
	for range 3 { // measures something
		getStars(t, client, "http://"+addr)
	}
	resp, err := client.Get("http://" + addr)
	require.NoError(t, err)
	defer resp.Body.Close() // after the socket was read, which unread bytes would have closed
	served, _ := acceptedSocket(t, conn())
	info, err := socket.Info(served)
	require.NoError(t, err)
	for _, f := range socket.Figures {
		text := resp.Header.Get(f.Name)
		_, known := info.Value(f)
		require.Equal(t, known, text != "", "%s: %q", f.Name, text)
		if !known {
			continue
		}
		number, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err, f.Name)
		require.GreaterOrEqual(t, number, 0.0, f.Name)
		if f.Unit == socket.Microseconds {
			require.Less(t, number, 60.0, "%s is in seconds", f.Name)
		}
	}
	rtt, err := time.ParseDuration(resp.Header.Get("Rtt") + "s")
	require.NoError(t, err)
	require.Positive(t, rtt)
	sent, err := strconv.Atoi(resp.Header.Get("Bytes_acked"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, sent, 2*len(stars))
	require.Equal(t, "reno", resp.Header.Get("Congestion"))
	require.Equal(t, "{http.tcp_info.unknown}", resp.Header.Get("Unknown"))
}

// TestTCPInfoInExpressions compares numbers, over TLS as well.
func TestTCPInfoInExpressions(t *testing.T) {
	var l lineup
	lines := `tcp_info
	@far expression {http.tcp_info.rtt} > 10.0
	@lossy expression {http.tcp_info.total_retrans} > 1000000
	@near expression {http.tcp_info.rtt} > 0.0 && {http.tcp_info.snd_cwnd} >= 1 && {http.tcp_info.congestion} != ""
	respond @far far
	respond @lossy lossy
	echo_payload @near`
	for _, p := range []protocol{protocolPlain, protocolTLS, protocolH2C} {
		l.add(t, wrapAuto, p, lines)
	}
	l.spawn(t)
	for _, c := range l.contenders {
		client := c.dial(t)
		for range 3 {
			client.ask(t, client.send)
		}
	}
}

// TestTCPInfoCounts: one getsockopt a request, and none where nobody asks.
func TestTCPInfoCounts(t *testing.T) {
	const requests = 200
	var l lineup
	for _, lines := range []string{
		"",
		"tcp_info",
		"tcp_info\nheader A {http.tcp_info.rtt}\nheader B {http.tcp_info.rttvar}\nheader C {http.tcp_info.snd_cwnd}",
	} {
		l.add(t, wrapStock, protocolPlain, lines+"\necho_payload")
	}
	l.add(t, wrapping{"metrics", "sockopt {\nmetrics\n}"}, protocolPlain, "echo_payload")
	system := l.record(t, "getsockopt,setsockopt", func(t *testing.T) {
		for _, c := range l.contenders {
			for _, client := range askInTurn(t, c, requests) {
				require.NoError(t, client.tcp.CloseWrite()) // and the server closes
				_, err := client.tcp.Read(make([]byte, 1))
				require.ErrorIs(t, err, io.EOF)
			}
		}
	})
	count := func(c contender) int { return len(system.like(`^getsockopt\(` + c.onServer(t) + `.*TCP_INFO`)) }
	require.Zero(t, count(l.contenders[0]))
	require.Zero(t, count(l.contenders[1]))
	require.Equal(t, requests, count(l.contenders[2]))
	require.Equal(t, requests/100, count(l.contenders[3]), "one for each connection")
}

// TestTCPInfoInLogs appends a number to the access log.
func TestTCPInfoInLogs(t *testing.T) {
	addr := address(t)
	c := run(t, "", "http://"+addr+" {\nlog\ntcp_info\nlog_append rtt {http.tcp_info.rtt}\nlog_append congestion {http.tcp_info.congestion}\necho_payload\n}")
	getStars(t, http.DefaultClient, "http://"+addr)
	require.Eventually(t, func() bool { return strings.Contains(c.log(), "handled request") }, patience, time.Millisecond)
	require.Regexp(t, `"congestion":"\w+","rtt":0\.\d+`, c.log())
}
