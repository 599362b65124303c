package integration_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

func TestListeningSocketRaisesFirstWindow(t *testing.T) {
	window := func(block string) (offered, seen uint32) {
		addr := lab.Address(t)
		inprocess.Run(t, lab.Wrappers(block+"\n"+inprocess.Observer), "http://"+addr+" {\necho_payload 100\n}")
		client, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer client.Close()
		ask(t, client, request)
		tcp, _ := inprocess.AcceptedSocket(t, client)
		return lab.TCPInfo(t, tcp).Rcv_space, lab.TCPInfo(t, client.(*net.TCPConn)).Snd_wnd
	}
	stockOffered, stockSeen := window("")
	offered, seen := window("sockopt {\nrecv_buffer 1MiB\n}")
	require.Greater(t, offered, 2*stockOffered, "rcv_space of the server")
	require.Greater(t, seen, 2*stockSeen, "snd_wnd of the client")
}

// ask sends what makes a request complete and reads a payload of 100 bytes.
func ask(t testing.TB, conn net.Conn, request string) {
	t.Helper()
	_, err := io.WriteString(conn, request)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("*", 100), string(body))
}

func TestServesUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	caddy := inprocess.Run(t, lab.Wrappers("sockopt {\nkeepalive off\nrecv_buffer 64KiB\n}\n"+inprocess.Observer), "http://127.0.0.1 {\nbind unix/"+path+"\necho_payload 100\n}")
	client, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer client.Close()
	ask(t, client, request)
	require.NotContains(t, fmt.Sprintf("%T", inprocess.Listener(t, path)), "sockopt")
	require.NotContains(t, caddy.Logged(), `"logger":"caddy.listeners.sockopt"`)
}

// TestKeepAliveBesideTheServers: where the server and the wrapper differ, the
// wrapper's values win, on connections over TCP and over MPTCP.
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
			addr := lab.Address(t)
			inprocess.Run(t, fmt.Sprintf("servers {\n%s\nlistener_wrappers {\nsockopt%s\n%s\n}\n}", test.server,
				lab.Block(strings.Split(test.wrapper, "\n")...), inprocess.Observer), fmt.Sprintf("http://%s {\necho_payload\n}", addr))
			for nth := range 16 {
				var dialer net.Dialer
				dialer.SetMultipathTCP(nth%8 == 7)
				client, err := dialer.Dial("tcp", addr)
				require.NoError(t, err)
				conn, _ := inprocess.AcceptedSocket(t, client)
				require.Equal(t, test.want, strings.Join([]string{
					lab.GetSockOpt(t, conn, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE),
					lab.GetSockOpt(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE),
					lab.GetSockOpt(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL),
					lab.GetSockOpt(t, conn, syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT),
				}, " "))
				require.NoError(t, client.Close())
			}
		})
	}
}
