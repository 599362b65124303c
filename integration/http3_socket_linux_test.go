package integration_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestHTTP3Reload loads one configuration after another. The UDP socket is one and the
// same, and has what the latest configuration says.
func TestHTTP3Reload(t *testing.T) {
	requireRoot(t)
	untouched := stockState(t)
	s := newH3Site(t)
	site := s.site("echo_payload")
	with := func(change func(*udpState)) udpState {
		u := untouched
		change(&u)
		return u
	}
	const priorityOfAF21 = 2 // rt_tos2priority in the kernel's include/net/route.h
	c := inprocess.Run(t, h3Wrapper("recv_buffer 16MiB", "dscp af21", "ttl 42"), site)
	socket := udpSockets(t, lab.PortOf(s.addr))
	for i, step := range []struct {
		options []string
		want    udpState
	}{
		{
			[]string{"recv_buffer 16MiB", "dscp af21", "ttl 42"},
			with(func(u *udpState) { u.recv, u.tos, u.class, u.priority, u.ttl = 32<<20, 72, 72, priorityOfAF21, 42 }),
		},
		{
			[]string{"recv_buffer 8MiB", "send_buffer 9MiB", "dscp ef", "priority 4", "mark 0x2a"},
			with(func(u *udpState) {
				u.recv, u.send, u.tos, u.class, u.priority, u.mark = 16<<20, 18<<20, 184, 184, 4, 42
			}),
		},
		{
			[]string{"send_buffer 9MiB", "dscp cs1", "mark 0x2b"},
			with(func(u *udpState) { u.send, u.tos, u.class, u.mark = 18<<20, 32, 32, 43 }),
		},
		{[]string{"interface lo"}, untouched},
		{[]string{"priority 3"}, with(func(u *udpState) { u.priority = 3 })},
		{[]string{"metrics"}, untouched},
		{[]string{"recv_buffer 7MiB", "ttl 7"}, with(func(u *udpState) { u.recv, u.ttl = quicBuffer, 7 })},
		{nil, untouched}, // no wrapper
		{[]string{"raw 0 2 33", "raw 1 12 3"}, with(func(u *udpState) { u.ttl, u.priority = 33, 3 })},
		{[]string{"ttl 42", "priority 5"}, with(func(u *udpState) { u.ttl, u.priority = 42, 5 })},
		{nil, untouched},
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
		device, err := unix.GetsockoptString(socket[0], unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
		require.NoError(t, err)
		require.Equal(t, slices.Contains(step.options, "interface lo"), device == "lo", device)
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
			byName := strings.NewReplacer("raw 0 2", "ttl", "raw 1 12", "priority").Replace(strings.Join(step.options, "\n"))
			require.ElementsMatch(t, strings.Split(byName, "\n"), uses[0].effects())
		}
	}
	require.Empty(t, c.Warnings())

	// A configuration that is refused changes nothing.
	status, answer := c.Load("text/caddyfile", c.Caddyfile(h3Wrapper("ttl 42", "raw 0 2 33"), site))
	require.NotEqual(t, http.StatusOK, status, answer)
	require.Contains(t, answer, "raw 0 2 33 sets ttl, which is set as well; leave one of them out")
	status, answer = c.Load("text/caddyfile", c.Caddyfile(h3Wrapper("ttl 9")+"\nlayer4", site))
	require.NotEqual(t, http.StatusOK, status, answer)
	status, answer = c.Load("text/caddyfile", c.Caddyfile(h3Wrapper("ttl 9"), site+fmt.Sprintf("\nhttps://192.0.2.1:%s {\nbind 192.0.2.1\ntls internal\n}", lab.PortOf(s.addr))))
	require.NotEqual(t, http.StatusOK, status, answer)
	require.Equal(t, with(func(u *udpState) { u.send = 16 << 20 }), s.state(t))
	require.Equal(t, []string{"send_buffer 8MiB"}, datagramUses(t, c)[0].effects())
	require.Equal(t, string(lab.Stars), s.fetch(t))
}

// TestHTTP3StaysSet: an option that cannot be read cannot return to what it was before.
// SO_RCVBUFFORCE is one.
func TestHTTP3StaysSet(t *testing.T) {
	requireRoot(t)
	s := newH3Site(t)
	site := s.site("echo_payload")
	c := inprocess.Run(t, h3Wrapper(fmt.Sprintf("raw %d %d %d", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)), site)
	require.Equal(t, 16<<20, s.state(t).recv)
	require.Empty(t, c.Warnings())
	c.Reload(h3Wrapper("metrics"), site)
	require.Equal(t, string(lab.Stars), s.fetch(t))
	require.Equal(t, 16<<20, s.state(t).recv)
	warnings := c.Warnings()
	require.Len(t, warnings, 1)
	require.Equal(t, "a socket option stays set until Caddy is restarted, because its value before cannot be read", warnings[0].Message)
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
	untouched := stockState(t)
	untouched.recv = quicBuffer
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
			}, lab.Patience, 10*time.Millisecond)
			require.Equal(t, []string{"127.0.0.1:" + port, "127.0.0.3:" + port, "[::1]:" + port}, addresses)
			for _, address := range addresses {
				dropped, ok := c.Metric("dropped_datagrams_total", `address="`+address+`"`)
				require.True(t, ok, address)
				require.Zero(t, dropped)
			}
			require.Empty(t, c.Warnings())
		})
		require.Eventually(t, func() bool { return len(udpSockets(t, port)) == 0 }, lab.Patience, 10*time.Millisecond)
	}
}

// TestHTTP3HandedOver serves on a socket that Caddy is given, whose options a later
// configuration changes.
func TestHTTP3HandedOver(t *testing.T) {
	given, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	file, err := given.File()
	require.NoError(t, err)
	require.NoError(t, given.Close())
	// Caddy takes the descriptor, and keeps it.
	fd, err := unix.Dup(int(file.Fd()))
	require.NoError(t, err)
	require.NoError(t, file.Close())
	s := newH3Site(t)
	address, err := unix.Getsockname(fd)
	require.NoError(t, err)
	s.addr = lab.HostPort(lab.Loopback, address.(*unix.SockaddrInet4).Port)
	site := s.site(fmt.Sprintf("bind fdgram/%d {\nprotocols h3\n}", fd), "echo_payload")
	ttl := func() int {
		value, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL)
		require.NoError(t, err)
		return value
	}
	c := inprocess.Run(t, h3Wrapper("ttl 42"), site)
	require.Equal(t, string(lab.Stars), s.fetch(t))
	require.Equal(t, 42, ttl())
	require.Equal(t, s.addr, datagramUses(t, c)[0].Address)
	c.Reload(h3Wrapper("ttl 43"), site)
	require.Equal(t, string(lab.Stars), s.fetch(t))
	require.Equal(t, 43, ttl())
	c.Reload(h3Wrapper("metrics"), site)
	require.Equal(t, 64, ttl())
	require.Empty(t, c.Warnings())
}

// TestHTTP3DSCP looks at the packets of a download: each has the code point, most have
// ECN, and quic-go sends several datagrams at once.
func TestHTTP3DSCP(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	const ect0 = 2 // RFC 3168
	s := newH3Site(t)
	site := s.site("echo_payload 1MiB")
	c := inprocess.Run(t, h3Wrapper("dscp af21"), site)
	for _, step := range []struct {
		option string
		code   byte
	}{{"dscp af21", 18}, {"dscp ef", 46}, {"metrics", 0}, {"dscp le", 1}} {
		if step.code != 18 {
			c.Reload(h3Wrapper(step.option), site)
		}
		for _, host := range []string{"127.0.0.1", "::1"} {
			t.Run(step.option+" "+host, func(t *testing.T) {
				captured := s.captureDatagrams(t)
				require.Len(t, s.get(t, s.client(t, host)), 1<<20)
				sent := captured()
				marked, several, bytes := 0, 0, 0
				for _, d := range sent {
					require.Equal(t, step.code, d.code)
					bytes += d.size
					if d.ecn == ect0 {
						marked++
					}
					if d.size > 1500 { // the MTU is 65536, but quic-go's packets are smaller
						several++
					}
				}
				t.Logf("%d packets with %d bytes, %d with ECN, %d of several datagrams", len(sent), bytes, marked, several)
				require.Greater(t, bytes, 1<<20)
				require.Greater(t, marked, len(sent)/2)
				require.Greater(t, several, len(sent)/4)
			})
		}
	}
}

// TestHTTP3SystemCalls compares those of stock Caddy and of sockopt: packets are sent
// several at a time, with the control messages that quic-go adds, and read in batches.
func TestHTTP3SystemCalls(t *testing.T) {
	lab.OtherProcess(t)
	strace := lab.Require(t, "strace")
	type calls struct{ perCall, segmented, marked, addressed, batches float64 }
	count := func(global, tos string) (c calls) {
		s := newH3Site(t)
		file := filepath.Join(t.TempDir(), "trace")
		require.True(t, t.Run("under strace", func(t *testing.T) {
			lab.Spawn(t, global, s.site("echo_payload 8MiB"), strace, "--follow-forks", "--seccomp-bpf", "--quiet=all",
				"--signal=none", "--string-limit=1", "--trace=sendmsg,recvmmsg", "--output="+file)
			require.Len(t, s.fetch(t), 8<<20)
		}))
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		trace := lab.ParseTrace(string(text))
		sent := trace.Like(`^sendmsg\(.* = \d+$`)
		all := float64(len(sent))
		share := func(pattern string) float64 { return float64(len(sent.Like(pattern))) / all }
		return calls{
			perCall: float64(sent.Returned()) / all, segmented: share(`cmsg_level=SOL_UDP`), marked: share(tos),
			addressed: share(`IP_PKTINFO`), batches: float64(len(trace.Like(`^recvmmsg\(`))),
		}
	}
	stock := count(stockHTTP3, `cmsg_type=IP_TOS, cmsg_data=\[0x2\]`)
	ours := count(h3Wrapper("recv_buffer 8MiB", "dscp af21", "metrics"), `cmsg_type=IP_TOS, cmsg_data=\[0x4a\]`)
	t.Logf("stock %+v", stock)
	t.Logf("ours %+v", ours)
	require.Greater(t, stock.segmented, 0.5)
	require.InDelta(t, stock.segmented, ours.segmented, 0.2)
	require.Greater(t, stock.marked, 0.5)
	require.InDelta(t, stock.marked, ours.marked, 0.2)
	require.InDelta(t, stock.addressed, ours.addressed, 0.05)
	require.NotZero(t, ours.batches)
	require.InEpsilon(t, stock.perCall, ours.perCall, 0.5)
}

// TestHTTP3Drops sends one burst to a Caddy that does not run, for each of three buffers.
// quic-go does not allow the smallest, which is what a machine as it comes permits
// (net.core.rmem_max): raw with SO_RCVBUFFORCE sets it on the live socket.
func TestHTTP3Drops(t *testing.T) {
	requireRoot(t)
	s := newH3Site(t)
	site := s.site("echo_payload")
	c := lab.Spawn(t, h3Wrapper("metrics"), site)
	require.Equal(t, string(lab.Stars), s.fetch(t))
	all := func() float64 {
		value, ok := c.Metric("dropped_datagrams_total", `address="[::]:`+lab.PortOf(s.addr)+`",server="srv0"`)
		require.True(t, ok)
		require.GreaterOrEqual(t, float64(datagramUses(t, c)[0].Dropped), value)
		return value
	}
	const burst = 10_000
	var dropped []float64
	for _, buffer := range []string{fmt.Sprintf("raw %d %d %d", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 208<<10), "recv_buffer 7MiB", "recv_buffer 16MiB"} {
		c.Reload(h3Wrapper("metrics", buffer), site)
		before := all()
		flood(t, c.PID, s.addr, burst)
		dropped = append(dropped, all()-before)
		t.Logf("%s: %v of %d datagrams dropped", buffer, dropped[len(dropped)-1], burst)
		require.Equal(t, string(lab.Stars), s.fetch(t))
	}
	require.Greater(t, dropped[0], 0.9*burst)
	require.Greater(t, dropped[0], dropped[1])
	require.NotZero(t, dropped[1])
	require.Zero(t, dropped[2])
}

// TestHTTP3WithoutCapability: above the sysctl a process needs CAP_NET_ADMIN. Without it
// the log says so, and the site goes on with what the kernel gives.
func TestHTTP3WithoutCapability(t *testing.T) {
	requireRoot(t)
	limit := lab.SysctlNumber(t, "net.core.rmem_max")
	if limit > 1<<28 {
		t.Skip("no buffer is larger than net.core.rmem_max")
	}
	s := newH3Site(t)
	c := lab.Spawn(t, h3Wrapper(fmt.Sprintf("recv_buffer %d", 2*limit)), s.site("echo_payload"),
		lab.Require(t, "setpriv"), "--bounding-set=-net_admin")
	require.Equal(t, string(lab.Stars), s.fetch(t))
	u := datagramUses(t, c)[0]
	require.Equal(t, 2*limit, u.RecvBuffer)
	require.Equal(t, "net.core.rmem_max", u.Options[0].ClampedBy)
	warnings := c.Warnings()
	require.Len(t, warnings, 1)
	require.Equal(t, "recv_buffer is clamped by net.core.rmem_max: raise that, or give Caddy CAP_NET_ADMIN; nothing else helps", warnings[0].Message)
}
