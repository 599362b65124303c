package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestMarkRoutesTheSYN: the only route to the backend is that of marked packets.
func TestMarkRoutesTheSYN(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	n := newNetwork(t, nil)
	ip(t, nil, "route", "add", behind, "via", secondFar, "dev", secondLink, "table", "100")
	ip(t, nil, "rule", "add", "fwmark", "7", "table", "100")
	ask := n.proxy(t, "transport http", with("mark 7"))

	status, _ := ask(0)
	require.Equal(t, http.StatusBadGateway, status)
	status, seen := ask(1)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, secondNear, seen)
}

// TestInterfaceToBackends: both links lead to the backend, and routing prefers the first.
// Without the interface nothing is dialed.
func TestInterfaceToBackends(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	n := newNetwork(t, nil)
	ip(t, nil, "route", "add", behind, "via", n.Far)
	ip(t, nil, "route", "add", behind, "via", secondFar, "dev", secondLink, "metric", "100")
	ask := n.proxy(t, "transport http", with("interface "+secondLink), with("interface "+secondLink, "quickack off"))

	_, seen := ask(0)
	require.Equal(t, n.Near, seen)
	_, seen = ask(1)
	require.Equal(t, secondNear, seen)

	ip(t, nil, "link", "delete", secondLink)
	_, seen = ask(0)
	require.Equal(t, n.Near, seen)
	status, _ := ask(2)
	require.Equal(t, http.StatusBadGateway, status)
}

// TestSYN: what the first packets to a backend carry.
func TestSYN(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	const buffer = 1 << 20
	n := newNetwork(t, nil)
	ip(t, nil, "route", "add", behind, "via", n.Far)
	ask := n.proxy(t, "transport http", with("recv_buffer 1MiB", "dscp ef", "max_segment 1200"))
	first := func(site int) (syn packet, window int) {
		packets := n.capture(t)
		status, _ := ask(site)
		require.Equal(t, http.StatusOK, status)
		all := packets()
		require.Greater(t, len(all), 2)
		require.True(t, all[0].syn)
		return all[0], all[1].window << all[0].scale
	}

	stock, stockWindow := first(0)
	require.Zero(t, stock.tos)
	require.Equal(t, 1460, stock.mss)
	require.Less(t, stockWindow, buffer/8)

	ours, window := first(1)
	require.EqualValues(t, 46<<2, ours.tos)
	require.Equal(t, 1200, ours.mss)
	require.GreaterOrEqual(t, window, buffer/2)
}

// TestSynCount: the kernel gives up before dial_timeout. Since Linux 6.5 it counts as if
// each SYN waited twice as long as the one before, and sends some of them sooner.
func TestSynCount(t *testing.T) {
	t.Parallel() // it waits most of the time
	if !isolated(t) {
		return
	}
	n := newNetwork(t, nil)
	ip(t, nil, "route", "add", behind, "via", n.Far)
	ip(t, n.Namespace, "address", "delete", behind+"/32", "dev", "lo")
	ip(t, n.Namespace, "route", "add", "blackhole", behind)
	addr := lab.Address(t)
	c := lab.Spawn(t, "", "http://"+addr+" {\nreverse_proxy "+n.addr+" {\ntransport sockopt {\ndial_timeout 30s\nsocket {\nsyn_count 1\n}\n}\n}\n}")
	packets := n.capture(t)
	status, _ := statusAndBody(t, "http://"+addr)
	require.Equal(t, http.StatusBadGateway, status)
	require.Contains(t, c.Logged(), "connect: connection timed out")
	require.Contains(t, []int{2, 3}, len(packets()))
}

// TestRouteDoesNotReplaceCongestion: a route may have an algorithm of its own.
func TestRouteDoesNotReplaceCongestion(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	n := newNetwork(t, nil)
	ip(t, nil, "route", "add", behind, "via", n.Far, "congctl", "reno")
	const shown = "\nheader_down Congestion \"{http.reverse_proxy.upstream.tcp_info.congestion}\""
	addr := lab.Address(t)
	lab.Spawn(t, "", "http://"+addr+" {\nreverse_proxy /route "+n.addr+" {\ntransport sockopt"+shown+
		"\n}\nreverse_proxy "+n.addr+" {\n"+with("congestion cubic")+shown+"\n}\n}")
	for path, want := range map[string]string{"/route": "reno", "/": "cubic"} {
		resp, err := http.Get("http://" + addr + path)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, want, resp.Header.Get("Congestion"))
	}
}

// TestConnectionsToSeveralBackendsShareLocalPorts: twenty ports are enough for sixty
// connections to three backends, and for twenty where the port is chosen before the
// backend is known.
func TestConnectionsToSeveralBackendsShareLocalPorts(t *testing.T) {
	t.Parallel()
	const ports, backends = 20, 3
	for _, test := range []struct {
		name, transport string
		want            int
	}{
		{"transport http", "transport http {\nlocal_address 127.0.0.2\n}", ports},
		{"local_address", "transport sockopt {\nlocal_address 127.0.0.2\n}", ports * backends},
		{"local_port_range", with("local_port_range 20000-20009"), ports * backends / 2},
	} {
		if test.want == ports && !lab.IsLong() {
			continue // what fails without it takes Caddy 30 s
		}
		t.Run(test.name, func(t *testing.T) {
			if !isolated(t) {
				return
			}
			// Requests that got through wait until the others have failed.
			var all sync.WaitGroup
			all.Add(ports * backends)
			backend := func(http.ResponseWriter, *http.Request) {
				all.Done()
				all.Wait()
			}
			addr := lab.Address(t)
			site := "http://" + addr + " {\nrespond / ok\n"
			for i := range backends {
				site += fmt.Sprintf("reverse_proxy /%d %s {\n%s\n}\n", i, serveHTTP(t, backend), test.transport)
			}
			lab.Spawn(t, "servers {\nprotocols h1 h2c\n}", site+"}")

			// The client has one connection, which it opens before ports are few. They are
			// outside of the range before, where the servers of this test listen.
			protocols := new(http.Protocols)
			protocols.SetUnencryptedHTTP2(true)
			client := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: lab.Patience}
			status := func(path string) int {
				resp, err := client.Get("http://" + addr + path)
				if err != nil {
					t.Error(err)
					return 0
				}
				resp.Body.Close()
				return resp.StatusCode
			}
			require.Equal(t, http.StatusOK, status("/"))
			require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("20000 20019"), 0o600))
			statuses := make(chan int)
			for i := range ports * backends {
				go func() {
					got := status(fmt.Sprintf("/%d", i%backends))
					if got != http.StatusOK {
						all.Done()
					}
					statuses <- got
				}()
			}
			got := make(map[int]int)
			for range ports * backends {
				got[<-statuses]++
			}
			require.Equal(t, test.want, got[http.StatusOK], "%v", got)
			require.Equal(t, ports*backends-test.want, got[http.StatusBadGateway], "%v", got)
		})
	}
}
