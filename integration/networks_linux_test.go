package integration_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// h123 are the protocols of servers in these tests.
const h123 = "servers {\nprotocols h1 h2 h3\n}"

// TestNetworkInterface: sites on one port, on two devices, on one address of a device, and
// on all devices, serve each their own, over HTTP/1.1 and HTTP/3, IPv4 and IPv6.
func TestNetworkInterface(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	d := newDevices(t)
	port, elsewhere := lab.Port(t), lab.Port(t)
	sites := d.site(port, "first", "interface/"+d.first) +
		d.site(port, "second", "interface/"+d.second) +
		d.site(port, "all") +
		d.site(elsewhere, "IPv4", fmt.Sprintf("interface/%s%%%s", d.Near, d.first)) +
		d.site(elsewhere, "IPv6", fmt.Sprintf("interface/[%s%%%s]", nearIPv6, d.first)) +
		d.site(elsewhere, "other", fmt.Sprintf("interface/%s%%%s", secondNear, d.second))
	c := inprocess.Run(t, h123, sites)
	for range 2 {
		d.requireAnswer("first", d.Near, port)
		d.requireAnswer("first", nearIPv6, port)
		d.requireAnswer("second", secondNear, port)
		d.requireAnswer("IPv4", d.Near, elsewhere)
		d.requireAnswer("IPv6", nearIPv6, elsewhere)
		d.requireAnswer("other", secondNear, elsewhere)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: d.trust()}}
		status, body := statusAndBodyOf(t, client, "https://"+lab.HostPort(lab.Loopback, port))
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "all", body)
		// For a moment after a load the sockets of the configuration before it take
		// connections, too.
		c.Reload(h123, sites+"http://:"+fmt.Sprint(port+1)+" {\nbind 127.0.0.1\n}\n")
		require.Eventually(t, func() bool { return listening(t, port) == 3 }, lab.Patience, time.Millisecond)
	}
	// An address of one device does not answer on the other, whose socket has none.
	ip(t, d.Namespace, "route", "add", d.Near+"/32", "via", secondNear)
	_, err := d.ask(1, d.Near, elsewhere)
	require.Error(t, err)
}

// TestNetworkInterfaceRefused: what cannot be bound is an error that says what can.
func TestNetworkInterfaceRefused(t *testing.T) {
	addr := lab.Address(t)
	c := inprocess.Run(t, "", lab.EchoSite(addr))
	for bind, want := range map[string]string{
		"interface/nosuch0":                     `no network interface "nosuch0"; the interfaces of this system: lo`,
		"interface/a-name-that-the-kernel-cuts": `no network interface "a-name-that-the-kernel-cuts"`,
		"interface/%lo":                         `"" is no IP address; write interface/lo or interface/192.0.2.1%lo`,
		"interface/host%lo":                     `"host" is no IP address; write interface/lo or interface/192.0.2.1%lo`,
		"interface/":                            `no network interface ""`,
	} {
		site := fmt.Sprintf("http://:%s {\nbind %s\n}", lab.PortOf(addr), bind)
		status, answer := c.Load("text/caddyfile", c.Caddyfile("", site))
		require.Equal(t, http.StatusBadRequest, status)
		require.Contains(t, errorIn(t, answer), want)
	}
}

// TestNetworkFreebind starts before the address exists.
func TestNetworkFreebind(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	const later, laterIPv6 = "198.51.100.77", "2001:db8::77"
	d := newDevices(t, later, laterIPv6)
	port := lab.Port(t)
	inprocess.Run(t, h123, d.site(port, "here", "freebind/"+later, "freebind/["+laterIPv6+"]"))
	ip(t, d.Namespace, "route", "add", later+"/32", "dev", "second1")
	ip(t, nil, "address", "add", later+"/32", "dev", d.second)
	ip(t, nil, "address", "add", laterIPv6+"/128", "dev", d.first, "nodad")
	d.requireAnswer("here", later, port)
	d.requireAnswer("here", laterIPv6, port)
}

// TestNetworkTransparent: connections that the firewall redirects arrive with the address
// that the client asked for, over TCP and UDP, IPv4 and IPv6.
func TestNetworkTransparent(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	const asked, askedIPv6 = "203.0.113.9", "2001:db8:9::9"
	d := newDevices(t, asked, askedIPv6)
	port := lab.Port(t)
	nft := lab.Require(t, "nft")
	for _, family := range []string{"ip", "ip6"} {
		rules := fmt.Sprintf(`table %s divert { chain prerouting { type filter hook prerouting priority mangle;
			meta l4proto { tcp, udp } th dport 443 tproxy to :%d meta mark set 1 accept; }; }`, family, port)
		output, err := lab.Command(t.Context(), nft, rules).CombinedOutput()
		require.NoError(t, err, "%s", output)
	}
	ip(t, nil, "rule", "add", "fwmark", "1", "lookup", "100")
	ip(t, nil, "route", "add", "local", "default", "dev", "lo", "table", "100")
	ip(t, nil, "-6", "rule", "add", "fwmark", "1", "lookup", "100")
	ip(t, nil, "-6", "route", "add", "local", "default", "dev", "lo", "table", "100")
	ip(t, d.Namespace, "route", "add", asked+"/32", "via", d.Near)
	ip(t, d.Namespace, "-6", "route", "add", askedIPv6+"/128", "via", nearIPv6)
	inprocess.Run(t, h123, d.site(port, "{http.request.local.host}", "transparent/0.0.0.0", "transparent/[::]"))
	for _, address := range []string{asked, askedIPv6} {
		d.requireAnswer(address, address, 443)
	}
}

// TestNetworkTransparentRefused: without a capability it is an error that names it.
func TestNetworkTransparentRefused(t *testing.T) {
	t.Parallel()
	addr := lab.Address(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "Caddyfile")
	caddyfile := lab.Caddyfile(dir, lab.Address(t), "", "http://:"+lab.PortOf(addr)+" {\nbind transparent/127.0.0.1\n}")
	require.NoError(t, os.WriteFile(file, []byte(caddyfile), 0o600))
	powerless := []string{lab.Require(t, "setpriv"), "--bounding-set=-net_admin,-net_raw"}
	cmd, err := lab.CaddyCommand(t.Context(), dir, powerless, "run", "--adapter", "caddyfile", "--config", file)
	require.NoError(t, err)
	require.Error(t, cmd.Run())
	log, err := (&lab.Caddy{Dir: dir}).Log()
	require.NoError(t, err)
	require.Contains(t, log, "network transparent needs CAP_NET_ADMIN or CAP_NET_RAW")
}

// TestBindPage runs each Caddyfile of docs/bind.md, with the commands beside it, in a
// network that has the page's devices and addresses.
func TestBindPage(t *testing.T) {
	t.Parallel()
	if !isolated(t) {
		return
	}
	text := readPage(t, "docs/bind.md")
	const asked, askedIPv6 = "203.0.113.9", "2001:db8:9::9"
	for i, want := range []map[string]string{ // answers by host and port
		{"198.51.100.1:80": "guests", "[2001:db8::1]:80": "office"},
		{"192.0.2.10:80": "here", "[2001:db8::10]:80": "here"},
		{asked + ":80": asked, "[" + askedIPv6 + "]:80": askedIPv6},
		{secondNear + ":80": secondFar},
		{"[2001:db8::1]:443": "hello"},
	} {
		block := docBlock.FindAllStringSubmatch(text, -1)[i][2]
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			d := newDevices(t)
			for device, name := range map[string]string{d.first: "eth1", d.second: "eth2"} {
				ip(t, nil, "link", "set", device, "down")
				ip(t, nil, "link", "set", device, "name", name, "up")
				t.Cleanup(func() { ip(t, nil, "link", "set", name, "name", device) })
			}
			ip(t, nil, "address", "replace", nearIPv6+"/64", "dev", "eth1", "nodad")
			ip(t, d.Namespace, "route", "add", "default", "via", secondNear)
			ip(t, d.Namespace, "-6", "route", "add", "default", "via", nearIPv6)
			if i == 2 {
				pageCommands(t, 0)
			}
			if i == 3 {
				backend := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					host, _, _ := net.SplitHostPort(r.RemoteAddr)
					_, _ = io.WriteString(w, host)
				})}
				t.Cleanup(func() { backend.Close() })
				newBackends(t, func() {
					if ln, err := net.Listen("tcp", ":8080"); err == nil {
						go func() { _ = backend.Serve(ln) }()
					}
				})
				pageCommands(t, 1)
			}
			inprocess.Run(t, "local_certs", block)
			if i == 1 {
				ip(t, nil, "address", "add", "192.0.2.10/32", "dev", "eth1")
				ip(t, nil, "address", "add", "2001:db8::10/128", "dev", "eth1", "nodad")
			}
			for addr, answer := range want {
				client := &http.Client{Timeout: lab.Patience, Transport: &http.Transport{
					DisableKeepAlives: true,
					DialContext:       func(context.Context, string, string) (net.Conn, error) { return d.Dial(addr) },
					TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // of Caddy's own authority
				}}
				url := "http://" + addr
				if lab.PortOf(addr) == "443" {
					url = "https://example.com"
					require.Eventually(t, func() bool {
						resp, err := client.Get(url)
						if err != nil {
							return false
						}
						return resp.Body.Close() == nil
					}, lab.Patience, 10*time.Millisecond, "there is a certificate")
				}
				_, body := statusAndBodyOf(t, client, url)
				require.Equal(t, answer, body, addr)
			}
		})
	}
}
