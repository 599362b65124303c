//go:build !linux

package sockopt

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// port returns a port that the kernel picked.
func port(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}
