package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// udpSockets returns the descriptors of the UDP sockets that this process has at a port.
func udpSockets(t testing.TB, port string) (found []int) {
	t.Helper()
	paths, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, path := range paths {
		fd, err := strconv.Atoi(filepath.Base(path))
		require.NoError(t, err)
		if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_DGRAM {
			continue
		}
		local := 0
		switch address, _ := unix.Getsockname(fd); a := address.(type) {
		case *unix.SockaddrInet4:
			local = a.Port
		case *unix.SockaddrInet6:
			local = a.Port
		}
		if strconv.Itoa(local) == port {
			found = append(found, fd)
		}
	}
	return found
}

// udpState is what the kernel has of a site's UDP socket.
type udpState struct{ recv, send, tos, class, priority, mark, ttl int }

// untouched is what a socket has with quic-go alone: IPv6 has a traffic class of its own.
var untouched = udpState{recv: 14 << 20, send: 14 << 20, ttl: 64}

func (s *h3Site) state(t testing.TB) (u udpState) {
	t.Helper()
	sockets := udpSockets(t, lab.PortOf(s.addr))
	require.Len(t, sockets, 1)
	for _, o := range []struct {
		level, option int
		value         *int
	}{
		{unix.SOL_SOCKET, unix.SO_RCVBUF, &u.recv},
		{unix.SOL_SOCKET, unix.SO_SNDBUF, &u.send},
		{unix.IPPROTO_IP, unix.IP_TOS, &u.tos},
		{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, &u.class},
		{unix.SOL_SOCKET, unix.SO_PRIORITY, &u.priority},
		{unix.SOL_SOCKET, unix.SO_MARK, &u.mark},
		{unix.IPPROTO_IP, unix.IP_TTL, &u.ttl},
	} {
		var err error
		*o.value, err = unix.GetsockoptInt(sockets[0], o.level, o.option)
		require.NoError(t, err)
	}
	return u
}

// requireRoot is Missing where this process may not set a mark, nor buffers above the
// sysctls.
func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		lab.Missing(t, "only root has CAP_NET_ADMIN")
	}
}

// TestHTTP3Reload loads one configuration after another. The UDP socket is one and the
// same, and has what the latest configuration says.
func TestHTTP3Reload(t *testing.T) {
	requireRoot(t)
	s := newH3Site(t)
	site := s.site("echo_payload")
	with := func(change func(*udpState)) udpState {
		u := untouched
		change(&u)
		return u
	}
	const prioOfAF21 = 0 // rt_tos2priority in the kernel's include/net/route.h: none of the four bits of RFC 1349 that count
	c := inprocess.Run(t, h3Wrapper("recv_buffer 16MiB", "dscp af21", "ttl 42"), site)
	socket := udpSockets(t, lab.PortOf(s.addr))
	for i, step := range []struct {
		options []string
		want    udpState
	}{
		{
			[]string{"recv_buffer 16MiB", "dscp af21", "ttl 42"},
			with(func(u *udpState) { u.recv, u.tos, u.class, u.priority, u.ttl = 32<<20, 72, 72, prioOfAF21, 42 }),
		},
		{
			[]string{"recv_buffer 8MiB", "send_buffer 9MiB", "dscp ef", "priority 4", "mark 0x2a"},
			with(func(u *udpState) {
				u.recv, u.send, u.tos, u.class, u.priority, u.mark = 16<<20, 18<<20, 184, 184, 4, 42
			}),
		},
		{
			[]string{"send_buffer 9MiB", "dscp cs1", "mark 0x2b"},
			with(func(u *udpState) { u.send, u.tos, u.class, u.priority, u.mark = 18<<20, 32, 32, 2, 43 }),
		},
		{[]string{"priority 3"}, with(func(u *udpState) { u.priority = 3 })},
		{[]string{"metrics"}, untouched},
		{[]string{"recv_buffer 7MiB", "ttl 7"}, with(func(u *udpState) { u.ttl = 7 })},
		{nil, untouched}, // no wrapper
		{[]string{"send_buffer 8MiB"}, with(func(u *udpState) { u.send = 16 << 20 })},
	} {
		global := stockHTTP3
		if step.options != nil {
			global = h3Wrapper(step.options...)
		}
		if i > 0 {
			c.Reload(global, site)
		}
		require.Equal(t, string(lab.Stars), s.fetch(t))
		require.Equal(t, step.want, s.state(t), "%d: %v", i, step.options)
		require.Equal(t, socket, udpSockets(t, lab.PortOf(s.addr)))
		uses := datagramUses(t, c)
		if step.options == nil {
			require.Empty(t, uses)
			continue
		}
		require.Len(t, uses, 1)
		require.Equal(t, "[::]:"+lab.PortOf(s.addr), uses[0].Address)
		require.EqualValues(t, step.want.recv, uses[0].RecvBuffer)
		require.EqualValues(t, step.want.send, uses[0].SendBuffer)
		if step.options[0] != "metrics" {
			require.ElementsMatch(t, step.options, uses[0].effects())
		}
	}
	require.Empty(t, c.Warnings())

	// A configuration that is refused changes nothing.
	status, answer := c.Load("text/caddyfile", c.Caddyfile(h3Wrapper("ttl 9")+"\nlayer4", site))
	require.NotEqual(t, http.StatusOK, status, answer)
	status, answer = c.Load("text/caddyfile", c.Caddyfile(h3Wrapper("ttl 9"), site+fmt.Sprintf("\nhttps://192.0.2.1:%s {\nbind 192.0.2.1\ntls internal\n}", lab.PortOf(s.addr))))
	require.NotEqual(t, http.StatusOK, status, answer)
	require.Equal(t, with(func(u *udpState) { u.send = 16 << 20 }), s.state(t))
	require.Equal(t, []string{"send_buffer 8MiB"}, datagramUses(t, c)[0].effects())
	require.Equal(t, string(lab.Stars), s.fetch(t))
}

// TestHTTP3AddedByReload: Caddy wraps a socket when it opens it.
func TestHTTP3AddedByReload(t *testing.T) {
	s := newH3Site(t)
	site := s.site("echo_payload")
	c := inprocess.Run(t, stockHTTP3, site)
	before := s.state(t)
	c.Reload(h3Wrapper("ttl 42"), site)
	require.Equal(t, string(lab.Stars), s.fetch(t))
	require.Equal(t, before, s.state(t))
	require.Empty(t, datagramUses(t, c))
	warnings := c.Warnings()
	require.Len(t, warnings, 1)
	require.Equal(t, "sockopt has no effect on a UDP socket that was opened without it; restart Caddy", warnings[0].Message)
}

// TestHTTP3SmallBuffer: quic-go raises it, also where a reload sets it.
func TestHTTP3SmallBuffer(t *testing.T) {
	requireRoot(t)
	s := newH3Site(t)
	site := s.site("echo_payload")
	c := inprocess.Run(t, h3Wrapper("recv_buffer 1MiB"), site)
	require.Equal(t, untouched, s.state(t))
	require.Equal(t, []string{"recv_buffer 7MiB"}, datagramUses(t, c)[0].effects())
	c.Reload(h3Wrapper("recv_buffer 2MiB"), site)
	require.Equal(t, untouched, s.state(t))
	require.Equal(t, "2MiB", datagramUses(t, c)[0].Options[0].Requested)
	require.Equal(t, string(lab.Stars), s.fetch(t))
	warnings := c.Warnings()
	require.Len(t, warnings, 2)
	for _, w := range warnings {
		require.Equal(t, "recv_buffer: quic-go raises less than 3.5MiB to 7MiB, as far as the sysctl or CAP_NET_ADMIN permits", w.Message)
	}
}

// TestHTTP3Addresses binds to several, and ends: no descriptor stays.
func TestHTTP3Addresses(t *testing.T) {
	lab.RequireIPv6(t)
	s := newH3Site(t)
	port := lab.PortOf(s.addr)
	for _, protocols := range []string{"h1 h2 h3", "h3"} {
		t.Run(protocols, func(t *testing.T) {
			global := strings.Replace(h3Wrapper("ttl 42", "metrics"), "h1 h2 h3", protocols, 1)
			c := inprocess.Run(t, global, s.site("bind 127.0.0.1 127.0.0.2 ::1", "echo_payload"))
			for _, host := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
				require.Equal(t, string(lab.Stars), s.get(t, s.client(t, host)))
			}
			c.Reload(strings.Replace(global, "42", "43", 1), s.site("bind 127.0.0.1 ::1 127.0.0.3", "echo_payload"))
			for _, host := range []string{"127.0.0.1", "127.0.0.3", "::1"} {
				require.Equal(t, string(lab.Stars), s.get(t, s.client(t, host)))
			}
			var addresses []string
			require.Eventually(t, func() bool { // that the socket at 127.0.0.2 is closed
				addresses = nil
				for _, u := range datagramUses(t, c) {
					require.Equal(t, []string{"ttl 43"}, u.effects())
					addresses = append(addresses, u.Address)
				}
				return len(udpSockets(t, port)) == 3
			}, lab.Patience, 1e7)
			require.Equal(t, []string{"127.0.0.1:" + port, "127.0.0.3:" + port, "[::1]:" + port}, addresses)
			for _, address := range addresses {
				dropped, ok := c.Metric("dropped_datagrams_total", `address="`+address+`"`)
				require.True(t, ok, address)
				require.Zero(t, dropped)
			}
			require.Empty(t, c.Warnings())
		})
		require.Eventually(t, func() bool { return len(udpSockets(t, port)) == 0 }, lab.Patience, 1e7)
	}
}
