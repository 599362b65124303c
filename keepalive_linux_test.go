package sockopt

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKeepAliveBesideTheServers: where the server and the wrapper differ, the
// wrapper's values win, on the first connections as on those for which it has
// learned what Go sets and the kernel copies, and on those that speak MPTCP.
func TestKeepAliveBesideTheServers(t *testing.T) {
	const servers = "keepalive_idle 33s\nkeepalive_interval 44s\nkeepalive_count 5"
	for _, test := range []struct {
		name, server, wrapper string
		want                  string // SO_KEEPALIVE, idle, interval, count
	}{
		// The server does not switch it off: Go's own default comes in its place.
		{"server without", "keepalive_interval -1s", "", "1 15 15 9"},
		{"server without, wrapper's off", "keepalive_interval -1s", "keepalive off", "0 15 15 9"},
		{"server without, wrapper's idle", "keepalive_interval -1s", "keepalive_idle 2m", "1 120 15 9"},
		{"server without, wrapper's interval", "keepalive_interval -1s", "keepalive_interval 7s", "1 15 7 9"},
		{"server's", servers, "", "1 33 44 5"},
		{"wrapper's off", servers, "keepalive off", "0 33 44 5"},
		{"wrapper's idle", servers, "keepalive_idle 2m", "1 120 44 5"},
		{"wrapper's interval", servers, "keepalive_interval 7s", "1 33 7 5"},
		{"wrapper's count", servers, "keepalive_count 3", "1 33 44 3"},
		{"wrapper's all", servers, "keepalive on\nkeepalive_idle 2m\nkeepalive_interval 7s\nkeepalive_count 3", "1 120 7 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := address(t)
			run(t, fmt.Sprintf("servers {\n%s\nlistener_wrappers {\nsockopt%s\n%s\n}\n}", test.server,
				block(strings.Split(test.wrapper, "\n")...), observe), fmt.Sprintf("http://%s {\necho_payload\n}", addr))
			for nth := range inTheMaking + triesToLearn {
				var dialer net.Dialer
				dialer.SetMultipathTCP(nth%8 == 7)
				client, err := dialer.Dial("tcp", addr)
				require.NoError(t, err)
				conn, _ := acceptedSocket(t, client)
				require.Equal(t, test.want, strings.Join([]string{
					getsockopt(t, conn, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE),
					getsockopt(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE),
					getsockopt(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL),
					getsockopt(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT),
				}, " "))
				require.NoError(t, client.Close())
			}
		})
	}
}
