package socket

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait for something that is certain to come.
const patience = 10 * time.Second

// listen returns a listening socket on loopback, as Go opens it by default.
func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

// pair returns both ends of a new connection over loopback.
func pair(t testing.TB) (accepted, peer *net.TCPConn) {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	return connect(t, ln, net.Dialer{})
}

// connect has d dial ln and returns both ends.
func connect(t testing.TB, ln net.Listener, d net.Dialer) (accepted, peer *net.TCPConn) {
	t.Helper()
	dialed, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { dialed.Close() })
	c, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn), dialed.(*net.TCPConn)
}

// onDescriptor calls f with the descriptor of c.
func onDescriptor(t testing.TB, c syscall.Conn, f func(fd int)) {
	t.Helper()
	require.NoError(t, control(c, func(fd int) error {
		f(fd)
		return nil
	}))
}
