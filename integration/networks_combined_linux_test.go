package integration_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// onLoopback are the networks with an address that loopback has.
var onLoopback = []string{"interface/lo", "freebind/[::1]", "transparent/[::1]", "sockopt/[::1]"}

// get asks a port of the loopback address that all of them have. For a moment after a load
// the server of the configuration before it takes connections, and drops them.
func get(t testing.TB, port int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: lab.Patience}
	require.Eventually(t, func() bool {
		return lab.Get(t.Context(), client, "http://"+lab.HostPort("::1", port)) == nil
	}, lab.Patience, time.Millisecond)
}

// TestNetworkDelay: with shutdown_delay a reload that keeps the address does not wait, and
// one that moves to another network does, as with Caddy's own.
func TestNetworkDelay(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	const remains, closing = "shutdown delay configured but listener will remain open", "listener closing and shutdown delay is configured"
	port, other := lab.Port(t), lab.Port(t)
	site := func(i int) string { return fmt.Sprintf("http://:%d {\necho_payload\nrespond /%d %[2]d\n}", port, i) }
	global := func(network string) string { return "shutdown_delay 10ms\ndefault_bind " + network }
	c := inprocess.Run(t, global("tcp/[::1]"), fmt.Sprintf("http://:%d", other))
	for i, network := range append(onLoopback, "interface/[::1%lo]") {
		c.Reload(global(network), site(2*i))
		get(t, port)
		before := c.Logged()
		c.Reload(global(network), site(2*i+1))
		require.Eventually(t, func() bool { return listening(t, port) == 1 }, lab.Patience, time.Millisecond)
		get(t, port)
		now := strings.TrimPrefix(c.Logged(), before)
		require.Contains(t, now, remains, network)
		require.NotContains(t, now, closing, network)
		require.Contains(t, before, closing, network)
	}
}

// TestNetworkMoves: reloads move a port between networks, with listen options of the
// wrapper, and without MPTCP. Each time one socket is left, which has the options.
func TestNetworkMoves(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	port := lab.Port(t)
	config := func(network string) (global, site string) {
		wrapper := lab.Wrappers("sockopt {\nbacklog 77\nmultipath off\n}\n" + inprocess.Observer)
		if strings.HasPrefix(network, "sockopt/") {
			wrapper = lab.Wrappers(inprocess.Observer)
		}
		return wrapper, fmt.Sprintf("http://:%d {\nbind %s\necho_payload\n}", port, network)
	}
	c := inprocess.Run(t, "", fmt.Sprintf("http://:%d", lab.Port(t)))
	for range 2 {
		for _, network := range append(onLoopback, "[::1]") {
			c.Reload(config(network))
			require.Eventually(t, func() bool { return listening(t, port) == 1 }, lab.Patience, time.Millisecond)
			get(t, port)
			uses := statusOf(t, c).Listeners
			require.Len(t, uses, 1, network)
			require.Positive(t, uses[0].Counters.Connections)
			bare := strings.HasPrefix(network, "sockopt/")
			ln := inprocess.ListeningSocket(t, lab.HostPort("::1", port))
			require.Equal(t, bare, lab.SpeaksMPTCP(t, ln), network)
			if !bare {
				require.Equal(t, 77, uses[0].AcceptQueue.Limit, network)
			}
		}
	}
}

// TestNetworkRange: a range of ports, and a socket that Caddy was given beside it.
func TestNetworkRange(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	given, err := net.Listen("tcp", "[::1]:0")
	require.NoError(t, err)
	defer given.Close()
	file, err := given.(*net.TCPListener).File()
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	first := lab.Port(t)
	r := lab.NewRunning(t)
	for i, network := range onLoopback {
		adapted, err := inprocess.Adapt(r.Caddyfile("", fmt.Sprintf("http://:%d {\nbind %s fd/%d\necho_payload\n}", first, network, file.Fd())))
		require.NoError(t, err)
		one, all := caddy.JoinNetworkAddress("", "", fmt.Sprint(first)), caddy.JoinNetworkAddress("", "", fmt.Sprintf("%d-%d", first, first+3))
		ranged := strings.Replace(string(adapted), one+`"`, all+`"`, 1)
		require.NotEqual(t, string(adapted), ranged)
		if i == 0 {
			inprocess.LoadJSON(t, []byte(ranged))
		} else {
			status, answer := r.Load("application/json", ranged)
			require.Equal(t, http.StatusOK, status, answer)
		}
		for port := range 4 {
			get(t, first+port)
		}
		get(t, given.Addr().(*net.TCPAddr).Port)
	}
}

// TestNetworkValidates: a configuration is valid where its devices and addresses do not
// exist.
func TestNetworkValidates(t *testing.T) {
	r := lab.NewRunning(t)
	for _, network := range []string{"interface/nosuch0", "interface/192.0.2.1%nosuch0", "freebind/192.0.2.1", "transparent/192.0.2.1"} {
		adapted, err := inprocess.Adapt(r.Caddyfile("", fmt.Sprintf("http://:%d {\nbind %s\n}", lab.Port(t), network)))
		require.NoError(t, err)
		var config caddy.Config
		require.NoError(t, json.Unmarshal(adapted, &config))
		require.NoError(t, caddy.Validate(&config), network)
	}
}

// TestNetworkBare: the network sockopt/ is the wrapper, so beside the wrapper it is an
// error.
func TestNetworkBare(t *testing.T) {
	addr := lab.Address(t)
	site := fmt.Sprintf("http://:%s {\nbind sockopt/127.0.0.1\necho_payload\n}", lab.PortOf(addr))
	c := inprocess.Run(t, "", site)
	requirePayload(t, http.DefaultClient, "http://"+addr)
	use := statusOf(t, c).listener(t, lab.PortOf(addr))
	require.Equal(t, "auto", use.QuickAck)
	require.EqualValues(t, 1, use.Counters.Connections)
	status, answer := c.Load("text/caddyfile", c.Caddyfile(lab.Wrappers("sockopt"), site))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, errorIn(t, answer), "has the listener wrapper sockopt, and listens on the network sockopt/, which is the same without options; remove one of them")
	c.Reload("", lab.EchoSite(addr))
	require.Eventually(t, func() bool { return len(statusOf(t, c).Listeners) == 0 }, lab.Patience, time.Millisecond)
}
