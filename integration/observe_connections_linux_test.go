package integration_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// openConnections is the answer of GET /sockopt/connections.
type openConnections struct {
	Matched int `json:"matched"`
	Totals  []struct {
		Direction   string         `json:"direction"`
		Address     string         `json:"address"`
		Upstream    string         `json:"upstream"`
		Connections int            `json:"connections"`
		LimitedBy   map[string]int `json:"limited_by"`
	} `json:"totals"`
	Connections []map[string]any `json:"connections"`
}

func connectionsOf(t testing.TB, c *lab.Running, query string) (open openConnections) {
	t.Helper()
	code, answer := c.API(http.MethodGet, "/sockopt/connections"+query, "", "")
	require.Equal(t, http.StatusOK, code, answer)
	require.NoError(t, json.Unmarshal([]byte(answer), &open), answer)
	return open
}

// listens returns the address at which a site of addr listens.
func listens(addr string) string { return "[::]:" + lab.PortOf(addr) }

// TestConnections shows the accepted and the dialed connection of one request, and not those of
// others: another process listens at the same port, and this one dials the same backend.
func TestConnections(t *testing.T) {
	backend := lab.ServeStars(0)
	defer backend.Close()
	upstream := backend.Listener.Addr().String()
	addr, other := lab.Address(t), lab.Address(t)
	sites := fmt.Sprintf("http://%s {\nreverse_proxy %s {\ntransport sockopt\n}\n}\nhttp://%s {\necho_payload\n}", addr, upstream, other)
	caddy := inprocess.Run(t, lab.Wrappers("sockopt"), sites)
	lab.Spawn(t, lab.Wrappers("sockopt"), lab.EchoSite(addr)) // SO_REUSEPORT: it may get our requests
	stranger, err := net.Dial("tcp", upstream)
	require.NoError(t, err)
	defer stranger.Close()

	// Requests go on until one has come through this Caddy.
	var client *visitor
	var accepted openConnections
	require.NoError(t, lab.Eventually("a request through this Caddy", func() (bool, error) {
		client = newVisitor(addr)
		client.get(t)
		accepted = connectionsOf(t, caddy, "?direction=accepted")
		return accepted.Matched > 0, nil
	}))
	one := accepted.Connections[0]
	require.Equal(t, "accepted", one["direction"])
	require.Equal(t, listens(addr), one["address"])
	require.Equal(t, addr, one["local"])
	require.Equal(t, false, one["mptcp"])
	require.Equal(t, "nothing_to_send", one["limited_by"])
	require.Equal(t, lab.Sysctl("net.ipv4.tcp_congestion_control"), one["congestion"])
	require.Contains(t, []any{"eager", "patient"}, one["quickack"].(map[string]any)["state"])
	require.InDelta(t, 0.01, one["rtt"], 0.01)
	require.Greater(t, one["bytes_acked"], 10_000.0)
	require.Contains(t, one, "last_data_sent")
	require.NotContains(t, one, "upstream")

	dialed := connectionsOf(t, caddy, "?direction=dialed&address="+upstream)
	require.Equal(t, 1, dialed.Matched, "one upstream, and no connection of others")
	require.Equal(t, upstream, dialed.Connections[0]["upstream"])
	require.NotContains(t, dialed.Connections[0], "address")
	require.Equal(t, 1, dialed.Totals[0].LimitedBy["nothing_to_send"])

	peer := netip.MustParseAddrPort(one["peer"].(string)).Addr().String()
	for query, matched := range map[string]int{
		"?peer=" + peer:                      accepted.Matched + dialed.Matched,
		"?peer=127.0.0.0/8&direction=dialed": 1,
		"?peer=192.0.2.1":                    0,
		"?server=nobody":                     0,
		"?address=" + listens(other):         0,
		"?sort=rtt&limit=1&direction=dialed": 1,
	} {
		require.Equal(t, matched, connectionsOf(t, caddy, query).Matched, query)
	}
	require.Len(t, connectionsOf(t, caddy, "?limit=1").Connections, 1)
}

// TestConnectionsErrors: each says what would be right.
func TestConnectionsErrors(t *testing.T) {
	caddy := inprocess.Run(t, lab.Wrappers("sockopt"), lab.EchoSite(lab.Address(t)))
	for query, want := range map[string]string{
		"?nope=1":          `unknown parameter "nope"; there are server, direction, address, peer, sort and limit`,
		"?direction=in":    `direction "in" is not accepted or dialed`,
		"?peer=example":    `peer "example" is not an IP address or a network such as 192.0.2.0/24`,
		"?sort=weight":     `sort "weight" is not one of last_data_recv,`,
		"?limit=-1":        `limit "-1" is not how many connections to show, 0 for all`,
		"?limit=1&limit=2": "limit is given 2 times; give it once",
	} {
		code, answer := caddy.API(http.MethodGet, "/sockopt/connections"+query, "", "")
		require.Equal(t, http.StatusBadRequest, code, query)
		require.Contains(t, errorIn(t, answer), want, query)
	}
	code, answer := caddy.API(http.MethodPost, "/sockopt/connections", "", "")
	require.Equal(t, http.StatusMethodNotAllowed, code, answer)
	resp, err := http.Get("http://" + caddy.Admin + "/sockopt/connections")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
}

// TestLimitedBy makes what limits a connection, and sees it named.
func TestLimitedBy(t *testing.T) {
	paced, plain := lab.Address(t), lab.Address(t)
	caddy := inprocess.Run(t, "servers :"+lab.PortOf(paced)+" {\nlistener_wrappers {\nsockopt {\nmultipath off\npacing_rate 1MiB\n}\n}\n}\n"+
		"servers :"+lab.PortOf(plain)+" {\nlistener_wrappers {\nsockopt {\nmultipath off\n}\n}\n}",
		"http://"+paced+" {\necho_payload 64MiB\n}\nhttp://"+plain+" {\necho_payload 64MiB\n}")
	for _, test := range []struct {
		limit, addr string
		reads       bool
	}{
		{"pacing", paced, true},
		{"peer_window", plain, false},
	} {
		t.Run(test.limit, func(t *testing.T) {
			conn, err := net.Dial("tcp", test.addr)
			require.NoError(t, err)
			defer conn.Close()
			_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", test.addr)
			require.NoError(t, err)
			if test.reads {
				go io.Copy(io.Discard, bufio.NewReader(conn)) //nolint:errcheck // it ends when the test closes conn
			}
			require.NoError(t, lab.Eventually("limited by "+test.limit, func() (bool, error) {
				open := connectionsOf(t, caddy, "?peer=127.0.0.1&address="+listens(test.addr))
				return open.Matched == 1 && open.Connections[0]["limited_by"] == test.limit, nil
			}))
		})
	}
}

// TestLimitedByPath makes what needs a path that takes time.
func TestLimitedByPath(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit, lines string
		rtt          time.Duration
		loss         float64
	}{
		{"send_buffer", "send_buffer 16KiB", 100 * time.Millisecond, 0},
		{"congestion_window", "congestion reno", 300 * time.Millisecond, 0},
		{"loss", "congestion reno", 100 * time.Millisecond, 0.2},
	} {
		t.Run(test.limit, func(t *testing.T) {
			path := lab.NewTestPath(t)
			path.Set(test.rtt, test.loss)
			caddy := caddyOnPath(t, path, "sockopt {\nmultipath off\n"+test.lines+"\n}", "echo_payload 64MiB")
			conn, err := path.Dial(caddy.plain)
			require.NoError(t, err)
			defer conn.Close()
			_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", caddy.plain)
			require.NoError(t, err)
			go io.Copy(io.Discard, conn) //nolint:errcheck // it ends when the test closes conn
			require.NoError(t, lab.Eventually("limited by "+test.limit, func() (bool, error) {
				open := connectionsOf(t, caddy.Running, "")
				return open.Matched == 1 && open.Connections[0]["limited_by"] == test.limit, nil
			}))
		})
	}
}

// TestConnectionsEmpty: connections that have ended are in no list.
func TestConnectionsEmpty(t *testing.T) {
	addr := lab.Address(t)
	caddy := inprocess.Run(t, lab.Wrappers("sockopt"), lab.EchoSite(addr))
	for range lab.Long(500, 10_000) {
		client := newVisitor(addr)
		client.get(t)
		client.CloseIdleConnections()
	}
	require.NoError(t, lab.Eventually("no open connection", func() (bool, error) {
		return connectionsOf(t, caddy, "").Matched == 0, nil
	}))
}

// TestConnectionsCommand prints the table.
func TestConnectionsCommand(t *testing.T) {
	addr := lab.Address(t)
	caddy := inprocess.Run(t, lab.Wrappers("sockopt"), lab.EchoSite(addr))
	client := newVisitor(addr)
	client.get(t)
	table, stderr, err := lab.CaddyOutput(t, "sockopt", "connections", "--address", caddy.Admin, "--sort", "rtt")
	require.NoError(t, err, stderr)
	lines := strings.Split(table, "\n")
	require.Regexp(t, `^SERVER +WHERE +CONNECTIONS +LIMITED BY$`, lines[0])
	require.Regexp(t, `^srv0 +\[::\]:`+lab.PortOf(addr)+` +1 +nothing_to_send 1$`, lines[1])
	require.Regexp(t, `^PEER +LIMITED BY +RTT +UNSENT .* SERVER$`, lines[3])
	require.Regexp(t, `^127\.0\.0\.1:\d+ +nothing_to_send +[\d.]+ms +0 B +0 +eager `, lines[4])

	table, _, err = lab.CaddyOutput(t, "sockopt", "connections", "--address", caddy.Admin, "--json")
	require.NoError(t, err)
	require.True(t, json.Valid([]byte(table)))
	_, stderr, err = lab.CaddyOutput(t, "sockopt", "connections", "--address", lab.Address(t))
	require.Error(t, err)
	require.Contains(t, stderr, "Caddy does not run, its admin API is off, or it is elsewhere (--address)")
	_, stderr, err = lab.CaddyOutput(t, "sockopt", "connections", "--address", caddy.Admin, "--sort", "weight")
	require.Error(t, err)
	require.Contains(t, stderr, `--sort "weight" is not one of`)
}

// TestMetricsOfOpenConnections: they count while a connection is open. A walk serves five seconds of
// scrapes, so that no other test may share the process.
func TestMetricsOfOpenConnections(t *testing.T) {
	addr := lab.Address(t)
	caddy := lab.Spawn(t, lab.Wrappers("sockopt {\nmetrics\n}"), lab.EchoSite(addr))
	client := newVisitor(addr)
	client.get(t)
	labels := listenerLabel(t, addr)
	for name, labels := range map[string]string{
		"open_connections":         labels,
		"open_connections_limited": labels + `,limited_by="nothing_to_send"`,
		"open_rtt_seconds_count":   labels,
	} {
		value, ok := caddy.Metric(name, labels)
		require.True(t, ok, name)
		require.InDelta(t, 1, value, 0, name)
	}
}

// peersOf asks which peers wait.
func peersOf(t testing.TB, c *lab.Running) (peers map[string]float64) {
	t.Helper()
	code, answer := c.API(http.MethodGet, "/sockopt/peers", "", "")
	require.Equal(t, http.StatusOK, code, answer)
	var a struct {
		Peers []map[string]any `json:"peers"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &a), answer)
	peers = make(map[string]float64)
	for _, p := range a.Peers {
		peers[p["peer"].(string)+" "+p["kind"].(string)] += p["count"].(float64)
	}
	return peers
}

// TestPeers: clients that wait are shown. Those that do not are not, however many connections they
// make, nor are those of a server that says peers off.
func TestPeers(t *testing.T) {
	sites := new(lab.Sites)
	wrappings := []lab.Wrapping{lab.Auto, {Name: "off", Lines: "sockopt {\npeers off\n}"}}
	var auto, off []lab.Site
	for _, p := range lab.Protocols {
		auto = append(auto, sites.Add(t, wrappings[0], p, "echo_payload"))
		off = append(off, sites.Add(t, wrappings[1], p, "echo_payload"))
	}
	caddy := sites.Spawn(t) // a process has one table
	each := func(sites []lab.Site, dial func(lab.Site) *lab.Client, connections int, send func(*lab.Client)) {
		for _, site := range sites {
			for range connections {
				client := dial(site)
				send(client)
				client.TCP.Close()
			}
		}
	}
	whole := func(c *lab.Client) { c.Ask(t, c.Send) }
	pieces := func(c *lab.Client) { c.Times(t, c.SendInPieces, 0, 5) }
	nodelay := func(s lab.Site) *lab.Client { return s.Dial(t) }
	nagle := func(s lab.Site) *lab.Client {
		s.From = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}
		return s.DialNagle(t)
	}

	each(auto, nodelay, lab.Long(100, 3333), whole)
	each(off, nagle, 10, pieces)
	require.Empty(t, peersOf(t, caddy))

	each(auto, nagle, 10, pieces)
	peers := peersOf(t, caddy)
	require.Greater(t, peers["127.0.0.2/32 later"], 10.0, peers)
	require.Contains(t, peers, "127.0.0.2/32 before_first_response")
	require.Len(t, peers, 2)
	prevented, ok := caddy.Metric("prevented_waits_total", listenerLabel(t, auto[0].Addr))
	require.True(t, ok)
	require.Positive(t, prevented)
}

// TestPeersOverPath: an upload waits for the window, and not for an acknowledgement that is held back.
func TestPeersOverPath(t *testing.T) {
	t.Parallel()
	backend := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(lab.Stars)
	})
	path := lab.NewTestPath(t)
	path.Set(20*time.Millisecond, 0)
	caddy := caddyOnPath(t, path, "sockopt", "reverse_proxy "+backend)
	connect := func() *net.TCPConn {
		conn, err := path.Dial(caddy.plain)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	body := make([]byte, 1<<20)
	for range lab.Long(5, 50) {
		conn := connect()
		_, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", caddy.plain, len(body))
		require.NoError(t, err)
		_, err = conn.Write(body)
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		resp.Body.Close()
	}
	require.Empty(t, peersOf(t, caddy.Running))

	conn := connect()
	require.NoError(t, conn.SetNoDelay(false))
	client := &lab.Client{TCP: conn, Exchange: lab.NewHTTP1(conn, caddy.plain)}
	client.Times(t, client.SendInPieces, 0, 10)
	require.Len(t, peersOf(t, caddy.Running), 1)
}
