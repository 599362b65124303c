package sockopt

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// soReusePort is SO_REUSEPORT, which package syscall lacks on some machines.
const soReusePort = 15

// port returns a port that the kernel picked. A socket that would share the port
// with Caddy (SO_REUSEPORT), but never listens, keeps others away from it.
func port(t testing.TB) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	require.NoError(t, syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soReusePort, 1))
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	bound, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return bound.(*syscall.SockaddrInet4).Port
}
