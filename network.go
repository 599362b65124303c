package sockopt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	_ "unsafe" // for go:linkname

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// network is a network of Caddy's "bind" whose sockets have options that the kernel takes only before bind(2).
type network struct {
	name string

	// bind returns the host to listen on, and the options to set before.
	bind func(host string) (listen string, before []socket.Setting, err error)
}

// networks are those that "bind" takes beside Go's.
var networks = []network{
	interfaceNetwork,
	{name: "freebind", bind: always(socket.FreeBind)},
	{name: "transparent", bind: always(socket.Transparent)},
	{name: bareNetwork, bind: always()},
}

// interfaceNetwork binds to a network device.
var interfaceNetwork = network{name: "interface", bind: bindToDevice}

// bareNetwork is the network of apps whose listeners take no wrapper: it is the listener wrapper without options.
const bareNetwork = "sockopt"

// networkTypesHTTP3 has the networks on which servers that listen on others serve HTTP/3.
//
//go:linkname networkTypesHTTP3 github.com/caddyserver/caddy/v2/modules/caddyhttp.networkTypesHTTP3
var networkTypesHTTP3 map[string]string

// listener returns what opens the network's sockets.
func (n network) listener(transport string) caddy.ListenerFunc {
	return func(ctx context.Context, _, host, ports string, offset uint, config net.ListenConfig) (any, error) {
		configured, err := caddy.ParseNetworkAddress(caddy.JoinNetworkAddress(n.name, host, ports))
		if err != nil {
			return nil, err
		}
		configured = configured.At(offset)
		of, ok := ctx.(caddy.Context)
		if !ok {
			return nil, fmt.Errorf("network %s is for apps of Caddy", n.name)
		}
		c := configurationOf(of)
		c.start(of)
		opened, open := c.first.LoadAndDelete(transport + configured.String())
		if !open {
			if opened, err = n.open(ctx, transport, configured, config); err != nil {
				return nil, err
			}
		}
		if ln, ok := opened.(net.Listener); ok && n.name == bareNetwork {
			return wrapBare(of, ln)
		}
		return opened, nil
	}
}

// open opens the socket of one address.
func (n network) open(ctx context.Context, transport string, configured caddy.NetworkAddress, config net.ListenConfig) (any, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("network %s is not available on %s, only on Linux; listen without it", n.name, runtime.GOOS)
	}
	address := configured
	address.Network = transport
	var before []socket.Setting
	var err error
	if address.Host, before, err = n.bind(configured.Host); err != nil {
		return nil, err
	}
	config.Control = func(_, _ string, c syscall.RawConn) error {
		refused, err := socket.Set(socket.RawSocket{RawConn: c}, before)
		for _, r := range refused {
			err = n.refusal(r)
		}
		return err
	}
	opened, err := address.Listen(ctx, 0, config)
	if err != nil {
		return nil, err
	}
	log := caddy.Log().Named("network").With(zap.Stringer("address", configured))
	switch ln := opened.(type) {
	case net.PacketConn:
		if udp, ok := withoutCaddy(ln).(*net.UDPConn); ok {
			boundSockets.follow(udp, log)
			if n.name == interfaceNetwork.name {
				warnOfOlder(configured, log)
			}
		}
	case net.Listener:
		if tcp, ok := socket.TCPListener(ln); ok {
			boundSockets.follow(tcp, log)
			return counted(tcp, configured, address), nil
		}
	}
	return opened, nil
}

// refusal says why the kernel refuses an option of the network.
func (n network) refusal(r socket.Refusal) error {
	switch {
	case errors.Is(r.Err, syscall.ENODEV):
		return noDevice(r.Value.Text)
	case errors.Is(r.Err, syscall.EPERM) && r.Option.Is(socket.Interface):
		return fmt.Errorf("network %s needs CAP_NET_RAW before Linux 5.7", n.name)
	case errors.Is(r.Err, syscall.EPERM):
		return fmt.Errorf("network %s needs CAP_NET_ADMIN or CAP_NET_RAW", n.name)
	}
	return fmt.Errorf("this kernel refuses %s: %w", r.Option.Name, r.Err)
}

// always binds to the host as it is, with options on.
func always(on ...socket.Option) func(string) (string, []socket.Setting, error) {
	before := make([]socket.Setting, len(on))
	for i, o := range on {
		before[i] = socket.Setting{Option: o, Value: socket.Value{Number: 1}}
	}
	return func(host string) (string, []socket.Setting, error) { return host, before, nil }
}

// bindToDevice binds to a device: "eth1" is its wildcard address, "192.0.2.1%eth1" one address there.
func bindToDevice(host string) (listen string, before []socket.Setting, err error) {
	address, device, found := strings.Cut(host, "%")
	if !found {
		address, device = "", host
	}
	const longest = 15 // IFNAMSIZ in the kernel's include/uapi/linux/if.h, which cuts what is longer
	if device == "" || len(device) > longest {
		return "", nil, noDevice(device)
	}
	if found {
		ip, err := netip.ParseAddr(address)
		if err != nil {
			return "", nil, fmt.Errorf("network interface: %q is no IP address; write interface/%s or interface/192.0.2.1%%%[2]s", address, device)
		}
		if ip.Is6() && ip.IsLinkLocalUnicast() {
			address = ip.WithZone(device).String()
		}
	}
	return address, []socket.Setting{{Option: socket.Interface, Value: socket.Value{Text: device}}}, nil
}

// noDevice says that there is no such device, and which there are.
func noDevice(device string) error {
	devices, err := net.Interfaces()
	names := make([]string, len(devices))
	for i, d := range devices {
		names[i] = d.Name
	}
	if err != nil {
		names = []string{"unknown: " + err.Error()}
	}
	return fmt.Errorf("no network interface %q; the interfaces of this system: %s", device, strings.Join(names, ", "))
}

// listenerPool is where Caddy counts the configurations that use an address. With shutdown_delay it asks by the
// address in the configuration, and only its own listeners are counted, by the address that they listen on.
//
//go:linkname listenerPool github.com/caddyserver/caddy/v2.listenerPool
var listenerPool *caddy.UsagePool

// counted counts a socket by another address than it was counted by.
func counted(tcp *net.TCPListener, configured, address caddy.NetworkAddress) *closer {
	key := func(a caddy.NetworkAddress) string { return a.Network + "/" + a.JoinHostPort(0) }
	listenerPool.LoadOrStore(key(configured), nil)
	_, _ = listenerPool.Delete(key(address))
	return &closer{tcp, sync.OnceFunc(func() { _, _ = listenerPool.Delete(key(configured)) })}
}

// wrapBare wraps a listener of another app than the HTTP app, or of a server that does not have the wrapper.
func wrapBare(config caddy.Context, ln net.Listener) (net.Listener, error) {
	w := &ListenerWrapper{log: caddy.Log().Named("network." + bareNetwork), server: configurationOf(config).server(nil)}
	var err error
	if w.resolved, err = w.Resolve(options.Listen|options.Accept, w.log); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return w.WrapListener(ln), nil
}

// warnOfChallenges warns of issuers of certificates that want to listen on one of our
// networks. The Caddyfile makes the first address of "bind" the host on which CertMagic
// listens for challenges (httpcaddyfile/tlsapp.go), which knows no networks.
func warnOfChallenges(ctx caddy.Context) {
	app, _ := ctx.AppIfConfigured("tls") // its errors are Caddy's to report
	tls, ok := app.(*caddytls.TLS)
	if !ok || tls.Automation == nil {
		return
	}
	for _, policy := range tls.Automation.Policies {
		for _, issuer := range policy.Issuers {
			wrapper, ok := issuer.(interface{ GetACMEIssuer() *caddytls.ACMEIssuer })
			if !ok {
				continue
			}
			acme := wrapper.GetACMEIssuer()
			if acme == nil || acme.Challenges == nil || acme.Challenges.DNS != nil {
				continue
			}
			name, _, _, err := caddy.SplitNetworkAddress(acme.Challenges.BindHost)
			if err != nil || !slices.ContainsFunc(networks, func(n network) bool { return n.name == name }) {
				continue
			}
			caddy.Log().Named("network").Warn("no certificates for sites here by the challenges of ACME that connect to Caddy: "+
				"bind to an ordinary address before this one, such as 127.0.0.1, or use the DNS challenge",
				zap.String("bind", acme.Challenges.BindHost), zap.Strings("subjects", policy.SubjectsRaw))
		}
	}
}
