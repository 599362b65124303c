package integration_test

import (
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/procfs"
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

// quicBuffer is what getsockopt reads of a buffer that quic-go asks 7 MiB for: it is
// doubled.
const quicBuffer = 14 << 20

// stockState is what a UDP socket has without sockopt.
func stockState(t testing.TB) udpState {
	t.Helper()
	s := newH3Site(t)
	inprocess.Run(t, stockHTTP3, s.site("echo_payload"))
	return s.state(t)
}

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

// datagram is an IP packet with a UDP datagram of a site, or with several of one size.
type datagram struct {
	code, ecn byte
	size      int
}

// captureDatagrams returns a function that returns what a site has sent over loopback so
// far. It is for a network namespace in which there is nothing else.
func (s *h3Site) captureDatagrams(t testing.TB) func() []datagram {
	t.Helper()
	const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, all)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
	port, err := strconv.Atoi(lab.PortOf(s.addr))
	require.NoError(t, err)
	return func() (sent []datagram) {
		b := make([]byte, 1<<17)
		for {
			n, from, err := unix.Recvfrom(fd, b, 0)
			if err == unix.EAGAIN {
				return sent
			}
			require.NoError(t, err)
			if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING { // each is seen twice
				continue
			}
			class, header := b[1], int(b[0]&0xf)*4
			if b[0]>>4 == 6 {
				class, header = b[0]<<4|b[1]>>4, 40
			}
			if udp := b[header:n]; int(binary.BigEndian.Uint16(udp)) == port {
				sent = append(sent, datagram{class >> 2, class & 3, len(udp) - 8})
			}
		}
	}
}

// suspend stops a process, and returns when all of its threads have stopped.
func suspend(t testing.TB, pid int) (resume func()) {
	t.Helper()
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	require.Eventually(t, func() bool {
		threads, err := procfs.AllThreads(pid)
		require.NoError(t, err)
		return !slices.ContainsFunc(threads, func(thread procfs.Proc) bool {
			stat, err := thread.Stat()
			return err == nil && stat.State != "T"
		})
	}, lab.Patience, time.Millisecond)
	return func() { require.NoError(t, unix.Kill(pid, unix.SIGCONT)) }
}

// flood stops a process, sends it datagrams, and lets it go on.
func flood(t testing.TB, pid int, addr string, datagrams int) {
	t.Helper()
	client, err := net.Dial("udp", addr)
	require.NoError(t, err)
	defer client.Close()
	defer suspend(t, pid)()
	packet := make([]byte, 1200)
	for range datagrams {
		_, err := client.Write(packet)
		require.NoError(t, err)
	}
}
