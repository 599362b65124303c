package integration_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestMultipathOff loads one configuration after another. Listeners of one with multipath
// off are without MPTCP, those of all others have it again.
func TestMultipathOff(t *testing.T) {
	const environment = "http2debug=0,multipathtcp=2"
	t.Setenv("GODEBUG", environment)
	addr, other := lab.Address(t), lab.Address(t)
	if !new(net.ListenConfig).MultipathTCP() || lab.Sysctl("net.mptcp.enabled") != "1" {
		lab.MissingMPTCP(t)
	}
	const on, off = unix.IPPROTO_MPTCP, unix.IPPROTO_TCP
	config := func(lines ...string) (global, sites string) {
		for i, a := range []string{addr, other} {
			_, port, err := net.SplitHostPort(a)
			require.NoError(t, err)
			global += fmt.Sprintf("servers :%s {\nlistener_wrappers {\n%s\n%s\n}\n}\n", port, lines[i], inprocess.Observer)
			sites += lab.EchoSite(a) + "\n"
		}
		return global, sites
	}
	global, sites := config("sockopt", "")
	c := inprocess.Run(t, global, sites)
	for i, test := range []struct {
		lines, other string
		want         int
		refused      string
	}{
		{"sockopt", "", on, ""},
		{"sockopt" + lab.Block("multipath off"), "", off, ""},
		{"", "", on, ""}, // without the plugin
		{"sockopt" + lab.Block("multipath off"), "sockopt", off, ""},
		{"sockopt", "sockopt" + lab.Block("multipath off"), off, ""},
		{"sockopt" + lab.Block("multipath on"), "sockopt" + lab.Block("multipath off"), off, "multipath is on in server"},
		{"sockopt" + lab.Block("raw 6 99 1"), "", off, "raw 6 99 1"}, // a configuration without it fails to load
		{"sockopt" + lab.Block("multipath off"), "", off, ""},
		{"sockopt" + lab.Block("multipath on"), "", on, ""},
		{"sockopt" + lab.Block("multipath off", "raw 6 99 1"), "", on, "raw 6 99 1"},
		{"sockopt", "", on, ""},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			global, sites := config(test.lines, test.other)
			status, answer := c.Load("text/caddyfile", c.Caddyfile(global, sites))
			if test.refused != "" {
				require.Equal(t, http.StatusBadRequest, status, answer)
				require.Contains(t, answer, test.refused)
			} else {
				require.Equal(t, http.StatusOK, status, answer)
			}
			for _, a := range []string{addr, other} {
				require.Equal(t, fmt.Sprint(test.want), lab.GetSockOpt(t, inprocess.ListeningSocket(t, a), unix.SOL_SOCKET, unix.SO_PROTOCOL))
			}
			want := environment
			if test.want == off {
				want += ",multipathtcp=0"
			}
			require.Eventually(t, func() bool { return os.Getenv("GODEBUG") == want }, lab.Patience, time.Millisecond, "GODEBUG is %s", os.Getenv("GODEBUG"))
		})
	}
}
