package integration_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

func TestMPTCPClientIsServed(t *testing.T) {
	for _, mode := range []socket.AckMode{socket.AckAuto, socket.AckOn, socket.AckOff} {
		t.Run(string(mode), func(t *testing.T) {
			addr := lab.Address(t)
			block := fmt.Sprintf("sockopt {\nnodelay off\nquickack %s\n}\n", mode)
			caddy := inprocess.Run(t, lab.Wrappers(block+inprocess.Observer), "http://"+addr+" {\necho_payload 100\n}")
			const conns = 3
			for i := range conns {
				client := lab.DialMPTCP(t, addr)
				_, err := io.WriteString(client, requestLine)
				require.NoError(t, err)
				// The server has read that, and parks.
				require.Eventually(t, func() bool { return failures(statusOf(t, caddy).Listeners[0]) == uint64(i+1) }, lab.Patience, time.Millisecond)
				ask(t, client, requestRest)
				ask(t, client, request)
			}
			for _, conn := range inprocess.Conns(t, addr) {
				require.IsType(t, (*socket.Conn)(nil), conn)
				tcp, ok := socket.TCPConn(conn)
				require.True(t, ok)
				require.Equal(t, "0", lab.GetSockOpt(t, tcp, syscall.IPPROTO_TCP, syscall.TCP_NODELAY))
			}
			require.EqualValues(t, conns, failures(statusOf(t, caddy).Listeners[0]))
			log := caddy.Logged()
			require.Equal(t, 1, strings.Count(log, "a client speaks MPTCP, which refuses quickack and other options"), log)
			require.NotContains(t, log, "option refused by a connection")
			require.Contains(t, log, "TCP_QUICKACK")
			require.Contains(t, log, "protocol not available")
		})
	}
}

// TestMPTCPRefusals: what a connection refuses is counted by option and errno,
// logged once in a while, and costs neither the connection nor its other options.
func TestMPTCPRefusals(t *testing.T) {
	addr := lab.Address(t)
	options := lab.Block("quickack off", "user_timeout 30s", "thin_stream on", "pacing_rate 1GiB", "raw 0 10 3", "dscp ef")
	caddy := inprocess.Run(t, lab.Wrappers("sockopt"+options+"\n"+inprocess.Observer), "http://"+addr+" {\necho_payload 100\n}")
	const conns = 5
	for range conns {
		client := lab.DialMPTCP(t, addr)
		ask(t, client, request)
	}
	plain, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer plain.Close()
	ask(t, plain, request)

	now := statusOf(t, caddy).Listeners[0].Counters
	require.EqualValues(t, conns+1, now.Connections)
	require.Zero(t, now.Unreachable)
	refused := make(map[string]uint64)
	for _, r := range now.Refused {
		refused[r.Kernel+" "+r.Errno] = r.Count
	}
	require.Equal(t, map[string]uint64{
		"TCP_QUICKACK ENOPROTOOPT":             conns,
		"TCP_USER_TIMEOUT ENOPROTOOPT":         conns,
		"TCP_THIN_LINEAR_TIMEOUTS ENOPROTOOPT": conns,
		"SO_MAX_PACING_RATE EOPNOTSUPP":        conns,
		"level 0 option 10 EOPNOTSUPP":         conns,
	}, refused)
	require.Equal(t, 1, strings.Count(caddy.Logged(), "a client speaks MPTCP, which refuses quickack and other options"))
	require.NotContains(t, caddy.Logged(), "option refused by a connection")
	for i, conn := range inprocess.Conns(t, addr) {
		tcp, ok := socket.TCPConn(conn)
		require.True(t, ok)
		require.Equal(t, "184", lab.GetSockOpt(t, tcp, syscall.IPPROTO_IP, syscall.IP_TOS))
		if i == conns {
			require.Equal(t, "30000", lab.GetSockOpt(t, tcp, syscall.IPPROTO_TCP, tcpUserTimeout))
		}
	}
}
