package integration_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestSavedSYN: placeholders say what the client's SYN said, also in later requests of the
// connection, and nothing where it was not saved.
func TestSavedSYN(t *testing.T) {
	t.Parallel()
	lab.RequireIPv6(t)
	fields := []string{"ttl", "window", "mss", "scale", "options"}
	var headers strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&headers, "header Syn-%s {http.tcp_info.syn.%[1]s}\n", f)
	}
	saved, without := lab.Port(t), lab.Port(t)
	var sites strings.Builder
	for _, port := range []int{saved, without} {
		fmt.Fprintf(&sites, "http://:%d {\ntcp_info\n%secho_payload\n}\n", port, &headers)
	}
	global := fmt.Sprintf("servers :%d {\nlistener_wrappers {\nsockopt {\nsave_syn on\nmultipath off\n}\n}\n}", saved)
	c := lab.Spawn(t, global, sites.String())

	ask := func(client *http.Client, host string, port int) (said []string) {
		t.Helper()
		resp, err := client.Get("http://" + lab.HostPort(host, port))
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		for _, f := range fields {
			said = append(said, resp.Header.Get("Syn-"+f))
		}
		return said
	}
	const mss = 1000
	for _, host := range []string{lab.Loopback, "::1"} {
		client := &http.Client{Timeout: lab.Patience, Transport: &http.Transport{
			MaxConnsPerHost: 1,
			DialContext: (&net.Dialer{ControlContext: func(_ context.Context, _, _ string, raw syscall.RawConn) (err error) {
				ctlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss) })
				if err == nil {
					err = ctlErr
				}
				return err
			}}).DialContext,
		}}
		first := ask(client, host, saved)
		require.Equal(t, []string{"64", fmt.Sprint(mss), "2-4-8-1-3"}, []string{first[0], first[2], first[4]}, "%s: %v", host, first)
		require.NotEmpty(t, first[1])
		require.NotEmpty(t, first[3])
		require.Equal(t, first, ask(client, host, saved), "the second request")
		require.Equal(t, make([]string, len(fields)), ask(client, host, without))
	}

	if lab.Sysctl("net.mptcp.enabled") != "1" {
		return
	}
	status, answer := c.Load("text/caddyfile", c.Caddyfile(strings.Replace(global, "multipath off", "", 1), sites.String()))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, errorIn(t, answer), "save_syn on: on this kernel listening sockets that speak MPTCP refuse TCP_SAVE_SYN: needs multipath off")
}
