package lab

import (
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// GetSockOpt reads an option that is a number from the kernel: its value, or why there
// is none.
func GetSockOpt(t testing.TB, c syscall.Conn, level, option int) (text string) {
	t.Helper()
	control(t, c, func(fd int) {
		value, err := unix.GetsockoptInt(fd, level, option)
		text = fmt.Sprint(value)
		if err != nil {
			text = err.Error()
		}
	})
	return text
}

// SpeaksMPTCP reports whether a socket is one of MPTCP.
func SpeaksMPTCP(t testing.TB, c syscall.Conn) bool {
	t.Helper()
	return GetSockOpt(t, c, unix.SOL_SOCKET, unix.SO_PROTOCOL) == fmt.Sprint(unix.IPPROTO_MPTCP)
}

// Read reads the option from a socket, as Effective writes it.
func (e Expected) Read(t testing.TB, c syscall.Conn) (text string) {
	t.Helper()
	switch e.Kernel {
	case "TCP_CONGESTION", "SO_BINDTODEVICE":
		control(t, c, func(fd int) {
			var err error
			text, err = unix.GetsockoptString(fd, e.Level, e.Number)
			require.NoError(t, err)
		})
	case "SO_LINGER":
		control(t, c, func(fd int) {
			linger, err := unix.GetsockoptLinger(fd, e.Level, e.Number)
			require.NoError(t, err)
			text = fmt.Sprint(linger.Onoff, " ", linger.Linger)
		})
	case "listen(2)":
		// The length of the queue: tcp_get_info in the kernel's net/ipv4/tcp.c.
		text = fmt.Sprint(TCPInfo(t, c).Sacked)
	default:
		text = GetSockOpt(t, c, e.Level, e.Number)
	}
	return text
}

// IsConnected reports whether the kernel knows the peer of a socket, which it does until a reset or the end.
func IsConnected(c syscall.Conn) (connected bool) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { // a closed one is not connected
			_, err := unix.Getpeername(int(fd))
			connected = err == nil
		})
	}
	return connected
}

// TCPInfo reads TCP_INFO.
func TCPInfo(t testing.TB, c syscall.Conn) (info *unix.TCPInfo) {
	t.Helper()
	control(t, c, func(fd int) {
		var err error
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		require.NoError(t, err)
	})
	return info
}

func control(t testing.TB, c syscall.Conn, f func(fd int)) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { f(int(fd)) }))
}

// Segments returns how many TCP segments connections of a test have received and sent.
func Segments(t testing.TB, conns ...*net.TCPConn) (received, sent int) {
	t.Helper()
	for _, conn := range conns {
		info := TCPInfo(t, conn)
		received += int(info.Segs_in)
		sent += int(info.Segs_out)
	}
	return received, sent
}
