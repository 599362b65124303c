package integration_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
)

// downloading asks for a large response at the far end of a namespace, and reads it until the test
// ends.
func downloading(t testing.TB, n *lab.Namespace, addr string) net.Conn {
	t.Helper()
	conn, err := n.Dial(addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", addr)
	require.NoError(t, err)
	go io.Copy(io.Discard, conn) //nolint:errcheck // it ends when the test closes conn
	return conn
}

// findOnPath looks at downloads from a Caddy with a block of options. They are paced, since a Path
// knows no bandwidth. It looks again, a few times, when it finds more or less than there should be:
// the downloads have to begin, and a busy machine loses packets.
func findOnPath(t testing.TB, p *lab.Path, downloads int, lines string, findings, notes int) (f found) {
	t.Helper()
	c := caddyOnPath(t, p, "sockopt {\nmultipath off\npacing_rate 8MiB\n"+lines+"\n}", "sockopt {\npacing_rate 1MiB\n}\necho_payload 64MiB")
	for range downloads {
		downloading(t, p.Namespace, c.plain)
	}
	for range 5 {
		f = findWhile(t, c.Running, "1s", func() {})
		if len(f.Findings) == findings && len(f.Notes) == notes {
			break
		}
	}
	return f
}

// TestFindSendBuffer: a send buffer that is smaller than the path, and without it.
func TestFindSendBuffer(t *testing.T) {
	t.Parallel()
	path := lab.NewTestPath(t)
	path.Set(30*time.Millisecond, 0)
	f := findOnPath(t, path, 3, "send_buffer 16KiB", 1, 0).the(t, "send_buffer_limits")
	require.Regexp(t, `^the send buffer was full for [\d.]+m?s of the [\d.]+m?s in which 3 open connections had something to send; send_buffer is 16KiB$`, f.Evidence)
	require.Regexp(t, `^remove the line send_buffer 16KiB: the kernel then grows it to \d+ bytes$`, f.Fix)
	require.Empty(t, findOnPath(t, path, 3, "", 0, 0).Findings)
}

// TestFindSendBufferSysctl: the kernel lets a send buffer grow less than the path needs, and more
// with the printed sysctl.
func TestFindSendBufferSysctl(t *testing.T) {
	if !isolated(t) {
		return
	}
	const name = "net.ipv4.tcp_wmem"
	set := func(value string) {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/tcp_wmem", []byte(value), 0o600))
	}
	set("4096 16384 32768")
	path := lab.NewTestPath(t)
	path.Set(20*time.Millisecond, 0) // the first buffer lets 0.8 MB/s through, and the second one 1.6
	f := findOnPath(t, path, 3, "", 1, 0).the(t, "send_buffer_limits")
	t.Log(f.Evidence)
	require.Regexp(t, `; net\.ipv4\.tcp_wmem is 4096 16384 32768$`, f.Evidence)
	value, ok := strings.CutPrefix(f.Fix, "sysctl -w "+name+"=")
	require.True(t, ok, f.Fix)
	require.Equal(t, `"4096 16384 65536"`, value)
	set(strings.Trim(value, `"`))
	require.Empty(t, findOnPath(t, path, 3, "", 0, 0).Findings)
}

// TestNoteClientWindows: a client that reads nothing, until it reads.
func TestNoteClientWindows(t *testing.T) {
	t.Parallel()
	addr := lab.Address(t)
	c := lab.Spawn(t, lab.Wrappers("sockopt"), strings.Replace(lab.EchoSite(addr), "echo_payload", "echo_payload 64MiB", 1))
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	var looked found
	for range 5 { // it has to begin
		if looked = findWhile(t, c, "1s", func() {}); len(looked.Notes) > 0 {
			break
		}
	}
	looked = findWhile(t, c, "1s", func() {})
	require.Empty(t, looked.Findings)
	require.Len(t, looked.Notes, 1)
	note := looked.Notes[0]
	require.Equal(t, "client_windows_limit", note.Name)
	require.Equal(t, listens(addr), note.Address)
	match := regexp.MustCompile(`^the peers' windows were closed for (\S+) of the (\S+) in which 1 open connections had something to send$`).FindStringSubmatch(note.Evidence)
	require.NotNil(t, match, note.Evidence)
	require.Equal(t, match[1], match[2])
	require.Empty(t, note.Fix)

	_, err = io.CopyN(io.Discard, conn, 64<<20)
	require.NoError(t, err)
	require.Empty(t, findWhile(t, c, "1s", func() {}).Notes)
}

// TestFindLoss: packets that get lost, without a queue on the way. With bbr that is a note.
func TestFindLoss(t *testing.T) {
	t.Parallel()
	path := lab.NewTestPath(t)
	path.Set(50*time.Millisecond, 0.05)
	f := findOnPath(t, path, 6, "congestion reno", 1, 0).the(t, "loss")
	require.InDelta(t, 5, numberIn(t, f.Evidence, `^\d+ of \d+ segments were sent again \((\d+)\.\d %\), on paths with no queues: `), 3)
	require.Equal(t, "listener_wrappers { sockopt { congestion bbr } }", f.Fix)
	fixed := findOnPath(t, path, 6, "congestion bbr", 0, 1)
	require.Empty(t, fixed.Findings)
	require.Len(t, fixed.Notes, 1)
	require.Equal(t, "loss_with_bbr", fixed.Notes[0].Name)

	path.Set(50*time.Millisecond, 0.01)
	fixed = findOnPath(t, path, 6, "congestion bbr", 0, 0)
	require.Empty(t, append(fixed.Findings, fixed.Notes...))
}

// TestFindLossInQueues: many connections fill a short queue, and it loses what it has no room for.
func TestFindLossInQueues(t *testing.T) {
	t.Parallel()
	n := lab.NewTestNamespace(t)
	output, err := lab.Command(t.Context(), lab.Require(t, "tc"), "qdisc", "add", "dev", deviceOf(t, n.Near), "root",
		"tbf", "rate", "20mbit", "burst", "3000", "limit", "30000").CombinedOutput()
	require.NoError(t, err, "%s", output)
	addr, other := lab.HostPort(n.Near, lab.Port(t)), lab.HostPort(n.Near, lab.Port(t))
	site := "http://" + addr + " {\necho_payload 64MiB\n}"
	lines := "sockopt {\nmultipath off\ncongestion reno\n}"
	c := lab.Spawn(t, lab.Wrappers(lines), site)
	for range 10 {
		downloading(t, n, addr)
	}
	f := findWhile(t, c, "1s", func() {}).the(t, "loss")
	require.Contains(t, f.Evidence, "on paths with queues")
	require.Equal(t, "listener_wrappers { sockopt { congestion bbr; notsent_lowat 128KiB } }", f.Fix)

	c = lab.Spawn(t, strings.Replace(wrappersOf(t, f.Fix), "congestion", "multipath off\ncongestion", 1), strings.ReplaceAll(site, lab.PortOf(addr), lab.PortOf(other)))
	for range 10 {
		downloading(t, n, other)
	}
	require.Empty(t, findWhile(t, c, "1s", func() {}).Findings)
}

// TestFindVanishedPeers: many peers whose link is down, until user_timeout ends their connections.
func TestFindVanishedPeers(t *testing.T) {
	inprocess.Parallel(t)
	after := stats.VanishedAfter
	stats.VanishedAfter = 2 * time.Second
	t.Cleanup(func() { stats.VanishedAfter = after })
	const peers = 12
	n := lab.NewTestNamespace(t)
	addr := lab.HostPort(n.Near, lab.Port(t))
	site := "http://" + addr + " {\nsockopt {\npacing_rate 1MiB\n}\necho_payload 64MiB\n}" // whoever reads keeps its window open
	c := inprocess.Run(t, lab.Wrappers("sockopt"), site)
	vanish := func() (found, []net.Conn) {
		var conns []net.Conn
		for range peers {
			conns = append(conns, downloading(t, n, addr))
		}
		require.Eventually(t, func() bool {
			sending := 0
			for _, one := range connectionsOf(t, c, "").Connections {
				if one["notsent_bytes"].(float64) > 0 {
					sending++
				}
			}
			return sending == peers
		}, lab.Patience, 10*time.Millisecond)
		require.NoError(t, n.Unplug())
		return findWhile(t, c, "3s", func() {}), conns
	}
	looked, conns := vanish()
	f := looked.the(t, "vanished_peers")
	require.Equal(t, fmt.Sprintf("of %d open connections, %[1]d have acknowledged nothing of what they were sent for 2s or more", peers), f.Evidence)
	require.Equal(t, "listener_wrappers { sockopt { user_timeout 1s } }", f.Fix)

	require.NoError(t, n.Plug())
	for _, conn := range conns {
		conn.Close()
	}
	require.Eventually(t, func() bool { return connectionsOf(t, c, "").Matched == 0 }, lab.Patience, 10*time.Millisecond)
	reload(t, c, addr, wrappersOf(t, f.Fix), site)
	looked, _ = vanish()
	require.Empty(t, looked.Findings)
}
