package integration_test

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// perConnection are the options that every accepted connection shows as they were set:
// all but those that the kernel or the connection changes by itself.
func perConnection() (names []string) {
	for _, o := range options.ThisSystem().Options {
		itself := slices.Contains([]string{"quickack", "window_clamp", "linger", "raw", "mark", "busy_poll"}, o.Name)
		if o.Kernel != "" && o.Supported && slices.Contains(o.Phases, "accept") && !itself {
			names = append(names, o.Name)
		}
	}
	return names
}

// TestEveryConnectionHasEveryOption reads the options of hundreds of connections, whether
// they inherit them or the wrapper sets them: the first ones and later ones, over IPv4,
// IPv6 and MPTCP, and after reloads.
func TestEveryConnectionHasEveryOption(t *testing.T) {
	names := perConnection()
	port := fmt.Sprint(lab.Port(t))
	lines := func(userTimeout time.Duration) string {
		named := []string{"on_unsupported warn"}
		for _, name := range names {
			if name == "user_timeout" {
				named = append(named, fmt.Sprintf("%s %v", name, userTimeout))
				continue
			}
			named = append(named, name+" "+heldBy(t, name).Sample)
		}
		return lab.Wrappers("sockopt" + lab.Block(named...) + "\n" + inprocess.Observer)
	}
	site := "http://:" + port + " {\necho_payload\n}"
	c := inprocess.Run(t, lines(10*time.Second), site)

	// MPTCP refuses some, which is counted.
	refusedByMPTCP := func() (names []string) {
		for _, r := range statusOf(t, c).Listeners[0].Counters.Refused {
			names = append(names, r.Option)
		}
		return names
	}
	var mptcp *net.TCPConn
	var failed []string
	holds := func(client net.Conn, userTimeout time.Duration) {
		t.Helper()
		conn, latest := inprocess.AcceptedSocket(t, client)
		require.True(t, latest)
		for _, name := range names {
			kernel := heldBy(t, name)
			want := kernel.Effective
			if name == "user_timeout" {
				want = fmt.Sprint(userTimeout.Milliseconds())
			}
			got := kernel.Read(t, conn)
			if got == want || client.(*net.TCPConn) == mptcp && slices.Contains(refusedByMPTCP(), name) {
				continue
			}
			failed = append(failed, fmt.Sprintf("%v: %s is %s and not %s", client.RemoteAddr(), name, got, want))
		}
		require.NoError(t, client.Close())
	}
	dial := func(host string) net.Conn {
		t.Helper()
		client, err := net.Dial("tcp", net.JoinHostPort(host, port))
		require.NoError(t, err)
		return client
	}
	for range 300 { // more than the wrapper takes for older than the options
		holds(dial("127.0.0.1"), 10*time.Second)
	}
	t.Run("IPv6", func(t *testing.T) {
		lab.RequireIPv6(t)
		for range 50 {
			holds(dial("::1"), 10*time.Second)
		}
	})
	t.Run("MPTCP", func(t *testing.T) {
		for range 50 {
			mptcp = lab.DialMPTCP(t, "127.0.0.1:"+port)
			holds(mptcp, 10*time.Second)
		}
	})
	for reload := range 3 {
		userTimeout := time.Duration(20+reload) * time.Second
		c.Reload(lines(userTimeout), site)
		for accepted := 0; accepted < 20; {
			client := dial("127.0.0.1")
			// For a moment after a load, the listener from before takes connections, and
			// those that it has not accepted when it closes are reset.
			require.NoError(t, client.SetDeadline(time.Now().Add(lab.Patience)))
			if _, err := fmt.Fprintf(client, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", client.RemoteAddr()); err != nil {
				continue
			}
			if _, err := client.Read(make([]byte, 1)); err != nil {
				continue
			}
			if _, latest := inprocess.AcceptedSocket(t, client); latest {
				holds(client, userTimeout)
				accepted++
			}
		}
	}
	require.Empty(t, failed)
}
