package integration_test

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// asLines are the lines of a block that stands on one line.
func asLines(fix string) string {
	return strings.NewReplacer("{ ", "{\n", " }", "\n}", "; ", "\n").Replace(fix)
}

// wrappersOf are the global options with the listener wrappers that a fix names.
func wrappersOf(t testing.TB, fix string) string {
	t.Helper()
	require.True(t, strings.HasPrefix(fix, "listener_wrappers { sockopt { "), fix)
	return "servers {\n" + asLines(fix) + "\n}"
}

// TestFindMultipath: MPTCP clients refuse quickack, and with multipath off they speak TCP.
func TestFindMultipath(t *testing.T) {
	inprocess.Parallel(t)
	addr := lab.Address(t)
	site := "http://" + addr + " {\necho_payload 100\n}"
	c := inprocess.Run(t, lab.Wrappers("sockopt"), site)
	const clients = 12
	refused := uint64(0)
	f := findFirst(t, c, "2s", func() {
		for range clients {
			client := lab.DialMPTCP(t, addr)
			_, err := io.WriteString(client, requestLine)
			require.NoError(t, err)
			refused++
			// The server has read that, and parks.
			require.Eventually(t, func() bool { return failures(statusOf(t, c).Listeners[0]) == refused }, lab.Patience, time.Millisecond)
			ask(t, client, requestRest)
			client.Close()
		}
	}).the(t, "quickack_has_no_effect")
	require.InDelta(t, clients, numberIn(t, f.Evidence, `^(\d+) of \d+ connections in 2s spoke MPTCP, which refuses quickack$`), 2)

	reload(t, c, addr, wrappersOf(t, f.Fix), site)
	require.Empty(t, findWhile(t, c, "1s", func() {
		for range clients {
			client, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			ask(t, client, request)
			client.Close()
		}
	}).Findings)
}

// TestFindHidden: another wrapper hides connections, and after sockopt it does not.
func TestFindHidden(t *testing.T) {
	inprocess.Parallel(t)
	addr := lab.Address(t)
	c := inprocess.Run(t, lab.Wrappers("test_hide\nsockopt"), lab.EchoSite(addr))
	f := findWhile(t, c, "0s", func() {}).the(t, "quickack_has_no_effect")
	require.Equal(t, "test_hide hides the connections of this listener; list sockopt before what wraps it", f.Evidence)
	require.Contains(t, f.Fix, "sockopt before the others")
	c.Reload(lab.Wrappers("sockopt\ntest_hide"), lab.EchoSite(addr))
	require.Empty(t, findWhile(t, c, "0s", func() {}).Findings)
}

// TestFindPeersThatWait: clients wait where quickack is off. With the printed option they do not.
func TestFindPeersThatWait(t *testing.T) {
	t.Parallel()
	var l lab.Sites
	site := l.Add(t, lab.Off, lab.Plain, "echo_payload")
	c := l.Spawn(t)
	const requests = 15
	client := site.DialNagle(t)
	client.Times(t, client.SendInPieces, warmUp, 0)
	wait := func() { client.Times(t, client.SendInPieces, 0, requests) }
	f := findFirst(t, c, "2s", wait).the(t, "peers_wait")
	require.Equal(t, listens(site.Addr), f.Address)
	require.InDelta(t, requests, numberIn(t, f.Evidence, `^(\d+) suspected stalls in 2s, among \d+ segments with data from peers; quickack is off$`), requests/3)
	require.InDelta(t, 2*requests, numberIn(t, f.Evidence, `among (\d+) segments`), requests)

	_, sites := l.Caddyfile()
	reload(t, c, site.Addr, wrappersOf(t, f.Fix), sites)
	client = site.DialNagle(t)
	client.Times(t, client.SendInPieces, warmUp, 0)
	require.Empty(t, findWhile(t, c, "2s", wait).Findings)
}

// TestFindOptions: what a load has made of options, and what to set.
func TestFindOptions(t *testing.T) {
	if !isolated(t) {
		return
	}
	require.NoError(t, os.WriteFile("/proc/sys/net/core/somaxconn", []byte("128"), 0o600))
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("1"), 0o600))
	addr := lab.Address(t)
	config := lab.Wrappers("sockopt" + lab.Block("backlog 300", "fastopen 16", "interface none0", "on_unsupported warn"))
	c := lab.Spawn(t, config, lab.EchoSite(addr))
	f := findWhile(t, c, "0s", func() {}).the(t, "option_not_in_effect")
	for _, want := range []string{"backlog 300 is 128, clamped by net.core.somaxconn", "fastopen 16 has no effect", "left out: interface none0: this system has no such interface"} {
		require.Contains(t, f.Evidence, want)
	}
	for _, want := range []string{
		"sysctl -w net.core.somaxconn=300, and load the configuration again", "net.ipv4.tcp_fastopen is 1: set it to 3",
		"repair that, or remove the line interface none0",
	} {
		require.Contains(t, f.Fix, want)
	}
	require.NoError(t, os.WriteFile("/proc/sys/net/core/somaxconn", []byte("300"), 0o600))
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("3"), 0o600))
	c.Reload(strings.Replace(config, "interface none0\n", "", 1), lab.EchoSite(addr))
	require.Empty(t, findWhile(t, c, "0s", func() {}).Findings)
}

// TestFindHTTP3: limits of the listener wrapper that HTTP/3 passes by, until they stand where it
// knows them. What has no fix is a note.
func TestFindHTTP3(t *testing.T) {
	s := newH3Site(t)
	wrappers := "listener_wrappers {\nsockopt {\nmultipath off\npacing_rate 1MiB\ndscp af21\nuser_timeout 30s\n}\n}\n"
	c := inprocess.Run(t, "servers {\n"+wrappers+"}", s.site("echo_payload"))
	looked := findWhile(t, c, "0s", func() {})
	f := looked.the(t, "http3_passes_by")
	require.Equal(t, "pacing_rate 1MiB of the listener wrapper does not hold over HTTP/3, which the server has; "+
		"dscp af21 of the listener wrapper does not hold over HTTP/3, which the server has", f.Evidence)
	inSite, inPackets, ok := strings.Cut(f.Fix, " in the site, too; ")
	require.True(t, ok, f.Fix)
	require.Len(t, looked.Notes, 1)
	require.Equal(t, "user_timeout 30s of the listener wrapper does not hold over HTTP/3, which the server has", looked.Notes[0].Evidence)

	c.Reload("servers {\n"+wrappers+asLines(inPackets)+"\n}", s.site(asLines(inSite), "echo_payload"))
	require.Empty(t, findWhile(t, c, "0s", func() {}).Findings)
}
