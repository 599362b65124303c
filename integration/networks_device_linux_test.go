package integration_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestInterfaceReturns: a device is deleted and made again. A load, also one that leaves
// the sockets of HTTP/3 as they are, binds to it again what the network interface/ and the
// option interface had bound. Until then /sockopt/ says that they are bound to nothing.
func TestInterfaceReturns(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	d := newDevices(t)
	byNetwork, byOption := lab.Port(t), lab.Port(t)
	block := "sockopt" + lab.Block("interface "+d.second)
	global := h123 + fmt.Sprintf("\nservers :%d%s", byOption, lab.Block(
		"protocols h1 h2 h3", "listener_wrappers {", block, "}", "packet_conn_wrappers {", block, "}"))
	sites := d.site(byNetwork, "network", "interface/"+d.second) + d.site(byOption, "option")
	c := inprocess.Run(t, global, sites)
	answer := func() {
		t.Helper()
		d.requireAnswer("network", secondNear, byNetwork)
		d.requireAnswer("option", secondNear, byOption)
	}
	effective := func() []string {
		t.Helper()
		return []string{statusOf(t, c).listener(t, fmt.Sprint(byOption)).Options[0].Effective, datagramUses(t, c)[0].Options[0].Effective}
	}
	answer()
	require.Equal(t, []string{d.second, d.second}, effective())

	for i, changed := range []string{"respond /1 1\n", "respond /2 2\n"} {
		ip(t, nil, "link", "delete", d.second)
		require.Equal(t, []string{"", ""}, effective())
		require.Contains(t, statusOf(t, c).listener(t, fmt.Sprint(byOption)).Options[0].NoEffect, "does not exist any more")
		addSecondLink(t, d.Namespace)
		c.Reload(global, sites+"http://:"+fmt.Sprint(lab.Port(t))+" {\n"+changed+"}\n")
		// Until then the server from before takes connections, and drops them.
		require.Eventually(t, func() bool { return listening(t, byNetwork)+listening(t, byOption) == 2 }, lab.Patience, time.Millisecond)
		answer()
		require.Equal(t, []string{d.second, d.second}, effective())
		require.GreaterOrEqual(t, strings.Count(c.Logged(), "the network interface is back"), 2*(i+1))
	}
}

// TestInterfaceAfterAll: HTTP/3 on a device that a reload adds beside a site on all devices
// is warned of, however that site says all.
func TestInterfaceAfterAll(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	d := newDevices(t)
	for _, all := range []string{"", "tcp/0.0.0.0", "tcp/[::]"} {
		port := lab.Port(t)
		site := d.site(port, "all", strings.Fields(all)...)
		c := inprocess.Run(t, h123, site)
		c.Reload(h123, site+d.site(port, "first", "interface/"+d.first))
		require.Contains(t, c.Logged(), "goes to the site on all interfaces until Caddy is restarted", all)
	}
}
