package sockopt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// The variables of a request with which reverse_proxy tells its transport what to dial.
// Their names are not exported there (hosts.go).
const (
	proxyVar         = "reverse_proxy.proxy"               // there is a forward proxy
	proxyProtocolVar = "reverse_proxy.proxy_protocol_info" // for the PROXY header
	h1OnlyVar        = "reverse_proxy.tls_h1_only"         // no HTTP/2, which a request cannot use
)

// dialer dials as the http transport does, whose own dialer is out of reach
// (HTTPTransport.NewTransport), and sets options before the SYN.
type dialer struct {
	net.Dialer
	beforeSYN []socket.Setting

	transparent bool // connect from the client's address
}

// newDialer returns the dialer of a provisioned http transport.
func newDialer(t *reverseproxy.HTTPTransport, beforeSYN []socket.Setting, transparent bool) (*dialer, error) {
	probes := time.Duration(t.KeepAlive.ProbeInterval)
	d := &dialer{
		Dialer: net.Dialer{
			Timeout:         time.Duration(t.DialTimeout),
			FallbackDelay:   time.Duration(t.FallbackDelay),
			KeepAlive:       probes,
			KeepAliveConfig: net.KeepAliveConfig{Enable: probes > 0, Interval: probes},
		},
		beforeSYN:   beforeSYN,
		transparent: transparent,
	}
	if t.LocalAddress != "" { // Caddy has checked it
		address, err := caddy.ParseNetworkAddressWithDefaults(t.LocalAddress, "tcp", 0)
		if err != nil {
			return nil, err
		}
		if address.IsUnixNetwork() {
			d.LocalAddr, err = net.ResolveUnixAddr(address.Network, address.JoinHostPort(0))
		} else {
			d.LocalAddr, err = net.ResolveTCPAddr(address.Network, address.JoinHostPort(0))
		}
		if err != nil {
			return nil, err
		}
	}
	if _, ok := d.LocalAddr.(*net.TCPAddr); (ok || d.transparent) && socket.BindAddressNoPort.Supported() {
		// The kernel chooses the port when it knows the destination, so that connections
		// to several can have the same port.
		chosenLater := socket.Setting{Option: socket.BindAddressNoPort, Value: socket.Value{Number: 1}}
		d.beforeSYN = append([]socket.Setting{chosenLater}, d.beforeSYN...)
	}
	if t.Resolver != nil && len(t.Resolver.Addresses) > 0 {
		servers := net.Dialer{Timeout: d.Timeout, FallbackDelay: d.FallbackDelay}
		d.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			server := t.Resolver.Addresses[rand.IntN(len(t.Resolver.Addresses))] //nolint:gosec // any will do
			address, err := caddy.ParseNetworkAddressWithDefaults(server, "udp", 53)
			if err != nil {
				return nil, err
			}
			return servers.DialContext(ctx, address.Network, address.JoinHostPort(0))
		}}
	}
	return d, nil
}

// dial opens a connection, and returns how long that took from its SYN on, or 0 over Unix
// sockets. The observer learns which options it refused. Errors are reverseproxy.DialErrors.
func (d *dialer) dial(ctx context.Context, network, address string, observer socket.RefusalObserver) (conn net.Conn, took time.Duration, err error) {
	type attempt struct {
		began   time.Time
		refused []socket.Refusal
	}
	var attempts sync.Map // by address; several of a backend are tried at the same time
	once := d.Dialer
	once.ControlContext = func(_ context.Context, network, remote string, c syscall.RawConn) error {
		if !strings.HasPrefix(network, "tcp") {
			return nil
		}
		refused, err := socket.Set(socket.RawSocket{RawConn: c}, d.beforeSYN)
		for _, r := range refused {
			// Without its interface a connection would go another way than it must, so that
			// one is not opened; without the others it is.
			if r.Option.Is(socket.Interface) {
				err = fmt.Errorf("interface %s: %w", r.Value.Text, r.Err)
			}
		}
		attempts.Store(remote, attempt{time.Now(), refused}) // connect(2) is next
		return err
	}
	client := d.client(ctx, network)
	if client != nil {
		once.LocalAddr = client
	}
	conn, err = once.DialContext(ctx, network, address)
	if _, none := errors.AsType[*net.AddrError](err); none && client != nil { // no address of the client's family
		once.LocalAddr = d.LocalAddr
		conn, err = once.DialContext(ctx, network, address)
		if err == nil {
			observer.Refused(conn, socket.Transparent, syscall.EAFNOSUPPORT)
		}
	}
	if err != nil {
		// bind(2) says the same of a local_address that the machine does not have.
		call, ok := errors.AsType[*os.SyscallError](err)
		if o, counts := observer.(*stats.Observer); counts && ok && call.Syscall == "connect" && errors.Is(err, syscall.EADDRNOTAVAIL) {
			o.NoPort()
		}
		return nil, 0, reverseproxy.NewDialError(err)
	}
	// For the unspecified address the kernel connects to loopback.
	for _, remote := range []string{conn.RemoteAddr().String(), address} {
		if a, known := attempts.LoadAndDelete(remote); known {
			a := a.(attempt) //nolint:forcetypeassert // there is nothing else in it
			took = time.Since(a.began)
			for _, r := range a.refused {
				observer.Refused(conn, r.Option, r.Err)
			}
		}
	}
	return conn, took, nil
}

// destination returns what to dial for a request, and its backend as metrics of reverse_proxy name it: an address
// that depends on the request stands for itself. The transport's address is the upstream's, save where the context
// has another one: that of a Unix socket, and of an upstream whose URL also has the client. Behind a forward proxy it
// is the proxy's.
func destination(ctx context.Context, network, address string) (string, string, string) {
	info, ok := reverseproxy.GetDialInfo(ctx)
	switch {
	case !ok || caddyhttp.GetVar(ctx, proxyVar) != nil && !strings.HasPrefix(info.Network, "unix"):
		return network, address, address
	case info.Upstream == nil || strings.Contains(info.Upstream.Dial, "{"):
		return info.Network, info.Address, info.Address
	}
	return info.Network, info.Address, info.Upstream.Dial
}

// client returns the address to connect from, where that is the client's. There is none for
// health checks and clients of Unix sockets.
func (d *dialer) client(ctx context.Context, network string) net.Addr {
	if !d.transparent || !strings.HasPrefix(network, "tcp") {
		return nil
	}
	text, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return nil
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), 0))
}

// sendProxyHeader sends the PROXY header of a request, which tells the backend its
// client, as the http transport does: with a destination that is all zeros.
func sendProxyHeader(ctx context.Context, conn net.Conn, version string, log *zap.Logger) error {
	info, ok := caddyhttp.GetVar(ctx, proxyProtocolVar).(reverseproxy.ProxyProtocolInfo)
	if !ok {
		return errors.New("failed to get proxy protocol info from context")
	}
	versions := map[string]byte{"v1": 1, "v2": 2}
	if versions[version] == 0 {
		return errors.New("unexpected proxy protocol version")
	}
	if !info.AddrPort.IsValid() {
		return errors.New("unexpected remote addr type in proxy protocol info")
	}
	destination := &net.TCPAddr{IP: net.IPv4zero}
	if info.AddrPort.Addr().Is6() {
		destination.IP = net.IPv6zero
	}
	header := proxyproto.HeaderProxyFromAddrs(versions[version], net.TCPAddrFromAddrPort(info.AddrPort), destination)
	log.Debug("sending proxy protocol header "+version, zap.Any("header", header))
	if _, err := header.WriteTo(conn); err != nil {
		return reverseproxy.NewDialError(err)
	}
	return nil
}
