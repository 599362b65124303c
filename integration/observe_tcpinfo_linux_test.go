package integration_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestTCPInfoPlaceholders reads all of them from headers.
func TestTCPInfoPlaceholders(t *testing.T) {
	addr := lab.Address(t)
	var lines strings.Builder
	for _, f := range socket.Figures {
		fmt.Fprintf(&lines, "header %s {http.tcp_info.%s}\n", f.Name, f.Name)
	}
	inprocess.Run(t, lab.Wrappers("sockopt {\ncongestion reno\n}\n"+inprocess.Observer), "http://"+addr+` {
		tcp_info
		`+lines.String()+`
		header congestion {http.tcp_info.congestion}
		header unknown "{http.tcp_info.unknown}"
		echo_payload
	}`)
	client, conn := singleClient(t, false)
	for range 3 { // measures something
		requirePayload(t, client, "http://"+addr)
	}
	resp, err := client.Get("http://" + addr)
	require.NoError(t, err)
	defer resp.Body.Close() // after the socket was read, which unread bytes would have closed
	served, _ := inprocess.AcceptedSocket(t, conn())
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
	require.GreaterOrEqual(t, sent, 2*len(lab.Stars))
	require.Equal(t, "reno", resp.Header.Get("Congestion"))
	require.Equal(t, "{http.tcp_info.unknown}", resp.Header.Get("Unknown"))
}

// TestMisspeltPlaceholder: the first use of a placeholder that does not exist is warned of.
func TestMisspeltPlaceholder(t *testing.T) {
	addr := lab.Address(t)
	c := lab.Spawn(t, "", fmt.Sprintf("http://%s {\ntcp_info\nheader x {http.tcp_info.rrt}\nheader y {http.tcp_info.rtt}\necho_payload\n}", addr))
	for range 3 {
		requirePayload(t, http.DefaultClient, "http://"+addr)
	}
	unknown := regexp.MustCompile(`"unknown placeholder; the names are in the documentation of tcp_info",.*"placeholder":"{http.tcp_info.rrt}"`)
	require.Len(t, unknown.FindAllString(c.Logged(), -1), 1)
	require.NotContains(t, c.Logged(), `"placeholder":"{http.tcp_info.rtt}"`)
}

// TestTCPInfoInExpressions compares numbers, over TLS as well.
func TestTCPInfoInExpressions(t *testing.T) {
	var l lab.Sites
	lines := `tcp_info
	@far expression {http.tcp_info.rtt} > 10.0
	@lossy expression {http.tcp_info.total_retrans} > 1000000
	@near expression {http.tcp_info.rtt} > 0.0 && {http.tcp_info.snd_cwnd} >= 1 && {http.tcp_info.congestion} != null
	respond @far far
	respond @lossy lossy
	echo_payload @near`
	for _, p := range []lab.Protocol{lab.Plain, lab.TLS, lab.H2C} {
		l.Add(t, lab.Auto, p, lines)
	}
	l.Spawn(t)
	for _, c := range l.All {
		client := c.Dial(t)
		for range 3 {
			client.Ask(t, client.Send)
		}
	}
}

// TestTCPInfoCounts: one getsockopt a request, and none if no placeholder is used.
func TestTCPInfoCounts(t *testing.T) {
	t.Parallel()
	const requests = 200
	var l lab.Sites
	for _, lines := range []string{
		"",
		"tcp_info",
		"tcp_info\nheader A {http.tcp_info.rtt}\nheader B {http.tcp_info.rttvar}\nheader C {http.tcp_info.snd_cwnd}",
	} {
		l.Add(t, lab.Stock, lab.Plain, lines+"\necho_payload")
	}
	l.Add(t, lab.Wrapping{Name: "metrics", Lines: "sockopt {\nmetrics\n}"}, lab.Plain, "echo_payload")
	system := l.Record(t, "getsockopt,setsockopt", func(t *testing.T) {
		for _, c := range l.All {
			for _, client := range c.AskInTurn(t, requests) {
				require.NoError(t, client.TCP.CloseWrite()) // and the server closes
				_, err := client.TCP.Read(make([]byte, 1))
				require.ErrorIs(t, err, io.EOF)
			}
		}
	})
	count := func(c lab.Site) int { return len(system.Like(`^getsockopt\(` + c.Descriptor() + `.*TCP_INFO`)) }
	require.Zero(t, count(l.All[0]))
	require.Zero(t, count(l.All[1]))
	require.Equal(t, requests, count(l.All[2]))
	require.Equal(t, requests/100, count(l.All[3]), "one for each connection")
}

// TestTCPInfoInLogs appends a number to the access log.
func TestTCPInfoInLogs(t *testing.T) {
	addr := lab.Address(t)
	c := inprocess.Run(t, "", "http://"+addr+" {\nlog\ntcp_info\nlog_append rtt {http.tcp_info.rtt}\nlog_append congestion {http.tcp_info.congestion}\necho_payload\n}")
	requirePayload(t, http.DefaultClient, "http://"+addr)
	require.Eventually(t, func() bool { return strings.Contains(c.Logged(), "handled request") }, lab.Patience, time.Millisecond)
	require.Regexp(t, `"congestion":"\w+","rtt":0\.\d+`, c.Logged())
}

// TestTCPInfoMatcher matches by figures without the directive, and nothing over a Unix socket.
func TestTCPInfoMatcher(t *testing.T) {
	const routes = `@all {
		tcp_info rtt < 10s
		tcp_info snd_cwnd >= 1
		tcp_info congestion != none
		tcp_info bytes_received < 1MiB
	}
	@far tcp_info rtt > 10s
	header @all X-All yes
	header @far X-Far yes
	echo_payload`
	addr := lab.Address(t)
	path := filepath.Join(t.TempDir(), "socket")
	inprocess.Run(t, "", fmt.Sprintf("http://%s {\n%s\n}\nhttp:// {\nbind unix/%s\n%[2]s\n}", addr, routes, path))
	unixClient := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	for _, test := range []struct {
		client *http.Client
		url    string
		all    string
	}{
		{http.DefaultClient, "http://" + addr, "yes"},
		{unixClient, "http://unix", ""},
	} {
		resp, err := test.client.Get(test.url)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, test.all, resp.Header.Get("X-All"), test.url)
		require.Empty(t, resp.Header.Get("X-Far"))
	}
}
