package inprocess

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// AcceptedSocket returns Caddy's side of a client's connection, and whether the latest
// listener accepted it.
func AcceptedSocket(t testing.TB, client net.Conn) (tcp *net.TCPConn, latest bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		observed.Lock()
		defer observed.Unlock()
		a, ok := observed.by[client.LocalAddr().String()+client.RemoteAddr().String()]
		tcp, _ = socket.TCPConn(a.conn)
		latest = observed.at[place(client.RemoteAddr().String())] == a.on
		return ok && lab.IsConnected(tcp) // the client may have the port of an earlier connection
	}, lab.Patience, time.Millisecond, "not accepted")
	return tcp, latest
}
