package integration_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// rush opens connections to a Caddy that does not run until all have knocked, and closes them:
// those that were dropped would knock again at the next rush.
func rush(t testing.TB, pid int, addr string, count int) {
	t.Helper()
	port, err := strconv.Atoi(lab.PortOf(addr))
	require.NoError(t, err)
	resume := suspend(t, pid)
	defer resume()
	for range count {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != unix.EINPROGRESS {
			require.NoError(t, err)
		}
	}
}

// TestFindAcceptQueue: the accept queue overflows. With the printed backlog it does not.
func TestFindAcceptQueue(t *testing.T) {
	addr := lab.Address(t)
	c := lab.Spawn(t, lab.Wrappers("sockopt"+lab.Block("backlog 4")), lab.EchoSite(addr))
	overflow := func() found { return findWhile(t, c, "1s", func() { rush(t, c.PID, addr, 12) }) }
	f := overflow().the(t, "accept_queue_overflows")
	require.Equal(t, listens(addr), f.Address)
	require.Equal(t, "srv0", f.Server)
	dropped := numberIn(t, f.Evidence, `^(\d+) connections dropped in 1s; \d+ of 4 wait now; net.core.somaxconn is \d+$`)
	require.GreaterOrEqual(t, dropped, 7) // the queue has room for one more than its limit
	require.LessOrEqual(t, dropped, int(*statusOf(t, c).listener(t, lab.PortOf(addr)).AcceptQueue.Dropped), "clients knock again")

	backlog := numberIn(t, f.Fix, `^listener_wrappers { sockopt { backlog (\d+) } }$`)
	reload(t, c, addr, lab.Wrappers("sockopt"+lab.Block(fmt.Sprintf("backlog %d", backlog))), lab.EchoSite(addr))
	require.Empty(t, overflow().Findings)
}

// TestFindDatagrams: a burst overflows the receive buffer. With the printed buffer it does not.
func TestFindDatagrams(t *testing.T) {
	requireRoot(t)
	s := newH3Site(t)
	site := s.site("echo_payload")
	c := lab.Spawn(t, h3Wrapper(), site)
	require.Equal(t, string(lab.Stars), s.fetch(t))
	const burst = 10_000
	overflow := func() found { return findWhile(t, c, "1s", func() { flood(t, c.PID, s.addr, burst) }) }
	f := overflow().the(t, "datagrams_dropped")
	require.Equal(t, listens(s.addr), f.Address)
	dropped := numberIn(t, f.Evidence, `^(\d+) datagrams dropped in 1s; the receive buffer has \d+ bytes .* CAP_NET_ADMIN is held$`)
	require.InDelta(t, dropped, datagramUses(t, c)[0].Dropped, 0)
	require.Equal(t, "packet_conn_wrappers { sockopt { recv_buffer 16MiB } }", f.Fix)

	c.Reload(h3Wrapper("recv_buffer 16MiB"), site)
	require.Empty(t, overflow().Findings)
}

// TestFindDatagramsWithoutCapability: a Caddy that may not go beyond net.core.rmem_max needs a higher
// one, too. That is the machine's, and is put back.
func TestFindDatagramsWithoutCapability(t *testing.T) {
	requireRoot(t)
	const few = 212_992 // the kernel's default
	before := lab.SysctlNumber(t, "net.core.rmem_max")
	set := func(value int64) error {
		return os.WriteFile("/proc/sys/net/core/rmem_max", fmt.Append(nil, value), 0o600)
	}
	if err := set(few); err != nil {
		lab.Missing(t, err.Error())
	}
	t.Cleanup(func() { require.NoError(t, set(before)) })
	s := newH3Site(t)
	site := s.site("echo_payload")
	c := lab.Spawn(t, h3Wrapper(), site, lab.Require(t, "setpriv"), "--bounding-set=-net_admin")
	require.Equal(t, string(lab.Stars), s.fetch(t))
	overflow := func() found { return findWhile(t, c, "1s", func() { flood(t, c.PID, s.addr, 10_000) }) }
	f := overflow().the(t, "datagrams_dropped")
	dropped := numberIn(t, f.Evidence, `^(\d+) datagrams dropped in 1s; .* net.core.rmem_max is `+fmt.Sprint(few)+`; CAP_NET_ADMIN is not held$`)
	require.InDelta(t, dropped, datagramUses(t, c)[0].Dropped, 0)
	require.Equal(t, "packet_conn_wrappers { sockopt { recv_buffer 16MiB } }; sysctl -w net.core.rmem_max=16777216", f.Fix)

	require.NoError(t, set(16<<20))
	c.Reload(h3Wrapper("recv_buffer 16MiB"), site)
	require.Empty(t, overflow().Findings)
}

// TestFindSourcePorts: more connections to a backend than the range has ports, until it is larger.
func TestFindSourcePorts(t *testing.T) {
	if !isolated(t) {
		return
	}
	backend := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	addr := lab.Address(t)
	site := "http://" + addr + lab.Block("reverse_proxy "+backend+" {", "transport sockopt", "}")
	c := lab.Spawn(t, lab.Wrappers("sockopt"), site)
	const clients, ports, name = 40, 20, "/proc/sys/net/ipv4/ip_local_port_range"
	ask := func(ports string) found {
		require.NoError(t, os.WriteFile(name, []byte("1024 65535"), 0o600))
		var conns []net.Conn
		for range clients {
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			t.Cleanup(func() { conn.Close() })
			conns = append(conns, conn)
		}
		require.NoError(t, os.WriteFile(name, []byte(ports), 0o600))
		return findWhile(t, c, "1s", func() {
			for _, conn := range conns {
				_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+addr+"\r\n\r\n")
				require.NoError(t, err)
			}
		})
	}
	// No port of a range below is one where a server of this test listens.
	const closed = 5 // connections to the backend that leave TIME-WAIT, outside of the range
	require.NoError(t, os.WriteFile(name, []byte("20000 30000"), 0o600))
	for range closed {
		conn, err := net.Dial("tcp", backend)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	f := ask("31000 31019").the(t, "source_ports_run_out")
	require.Equal(t, backend, f.Upstream)
	require.Equal(t, clients-ports, numberIn(t, f.Evidence, `^(\d+) dials in 1s found no free source port \(EADDRNOTAVAIL\), beside 20 new and 20 open connections; .* is 31000 31019$`))
	require.Equal(t, closed, numberIn(t, f.Evidence, `; (\d+) sockets that were connected to it are in TIME-WAIT`))
	require.Equal(t, `sysctl -w net.ipv4.ip_local_port_range="1024 65535"`, f.Fix)
	require.Empty(t, ask("1024 65535").Findings)
}

// TestFindPortsInTimeWait: the range is as large as it can be, and its ports are in TIME-WAIT, until
// the kernel may use them again.
func TestFindPortsInTimeWait(t *testing.T) {
	if !isolated(t) {
		return
	}
	backend := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	addr := lab.Address(t)
	c := lab.Spawn(t, lab.Wrappers("sockopt"), "http://"+addr+lab.Block("reverse_proxy "+backend+" {", "transport sockopt", "}"))
	set := func(name, value string) {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o600))
	}
	set("tcp_tw_reuse", "0")                                             // usually 2: on loopback alone
	const free, closed, clients = 5, 16, 18                              // an even number: of an odd one connect(2) tries one port less
	set("ip_local_port_range", fmt.Sprintf("31000 %d", 31_000+closed-1)) // no server of this test listens there
	for range closed {
		conn, err := net.Dial("tcp", backend)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	set("ip_local_port_range", "1024 65535")
	ask := func() found {
		var conns []net.Conn
		set("ip_local_reserved_ports", "\n")
		for range clients {
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			t.Cleanup(func() { conn.Close() })
			conns = append(conns, conn)
		}
		return findWhile(t, c, "1s", func() {
			set("ip_local_reserved_ports", fmt.Sprintf("1024-30999,%d-65535", 31_000+free+closed))
			for _, conn := range conns {
				_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+addr+"\r\n\r\n")
				require.NoError(t, err)
			}
		})
	}
	f := ask().the(t, "source_ports_run_out")
	require.Equal(t, clients-free, numberIn(t, f.Evidence, `^(\d+) dials in 1s found no free source port \(EADDRNOTAVAIL\), beside 5 new and 5 open connections; .* is 1024 65535$`))
	require.Equal(t, closed, numberIn(t, f.Evidence, `; (\d+) sockets that were connected to it are in TIME-WAIT`))
	name, value, ok := strings.Cut(strings.TrimPrefix(f.Fix, "sysctl -w net.ipv4."), "=")
	require.True(t, ok, f.Fix)
	require.Equal(t, "tcp_tw_reuse", name)
	set(name, value)
	require.Empty(t, ask().Findings)
}
