package integration_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/procfs"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// devices are two network devices of this process, with a client at the far end of each.
// It is for tests that are isolated.
type devices struct {
	*lab.Namespace
	t             testing.TB
	first, second string // names of the devices
	certificate   *lab.Certificate
}

// The addresses of IPv6 at both ends of the first device.
const (
	nearIPv6 = "2001:db8::1"
	farIPv6  = "2001:db8::2"
)

func newDevices(t *testing.T, names ...string) *devices {
	t.Helper()
	n := newNetwork(t, nil)
	d := &devices{Namespace: n.Namespace, t: t, first: deviceOf(t, n.Near), second: secondLink}
	ip(t, nil, "address", "add", nearIPv6+"/64", "dev", d.first, "nodad")
	ip(t, n.Namespace, "address", "add", farIPv6+"/64", "dev", "far0", "nodad")
	var err error
	d.certificate, err = lab.NewCertificate(t.TempDir(), append(names, n.Near, secondNear, nearIPv6)...)
	require.NoError(t, err)
	return d
}

// deviceOf returns the device that has an address.
func deviceOf(t testing.TB, address string) string {
	t.Helper()
	all, err := net.Interfaces()
	require.NoError(t, err)
	for _, device := range all {
		addresses, err := device.Addrs()
		require.NoError(t, err)
		for _, a := range addresses {
			if strings.HasPrefix(a.String(), address+"/") {
				return device.Name
			}
		}
	}
	t.Fatalf("no device has %s", address)
	return ""
}

// site is a site that answers with a text on a port, over TLS.
func (d *devices) site(port int, answer string, bind ...string) string {
	listen := ""
	if len(bind) > 0 {
		listen = "bind " + strings.Join(bind, " ")
	}
	return fmt.Sprintf("https://:%d {\n%s\ntls %s %[3]s\nrespond %q\n}\n", port, listen, d.certificate.File, answer)
}

// trust is what clients of the sites trust.
func (d *devices) trust() *tls.Config {
	return &tls.Config{RootCAs: d.certificate.Roots, ServerName: lab.Loopback, MinVersion: tls.VersionTLS13}
}

// ask asks a site from the far end, over a new connection of HTTP/1.1 or HTTP/3.
func (d *devices) ask(protocol int, host string, port int) (string, error) {
	addr := lab.HostPort(host, port)
	trust := d.trust()
	var transport http.RoundTripper = &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   trust,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return d.Dial(addr) },
	}
	if protocol == 3 {
		h3 := &http3.Transport{TLSClientConfig: trust, Dial: func(ctx context.Context, _ string, tlsConfig *tls.Config, config *quic.Config) (*quic.Conn, error) {
			var conn *net.UDPConn
			var err error
			d.Do(func() { conn, err = net.ListenUDP("udp", nil) })
			if err != nil {
				return nil, err
			}
			context.AfterFunc(d.t.Context(), func() { conn.Close() })
			to, err := net.ResolveUDPAddr("udp", addr)
			if err != nil {
				return nil, err
			}
			return (&quic.Transport{Conn: conn}).DialEarly(ctx, to, tlsConfig, config)
		}}
		defer h3.Close()
		transport = h3
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), lab.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/", nil)
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.ProtoMajor != protocol {
		err = fmt.Errorf("the answer is of %s", resp.Proto)
	}
	return string(text), err
}

// requireAnswer asks over HTTP/1.1 and HTTP/3.
func (d *devices) requireAnswer(want, host string, port int) {
	d.t.Helper()
	for _, protocol := range []int{1, 3} {
		got, err := d.ask(protocol, host, port)
		require.NoError(d.t, err, "HTTP/%d at %s", protocol, host)
		require.Equal(d.t, want, got, "HTTP/%d at %s", protocol, host)
	}
}

// listening returns how many sockets of IPv6, which may be dual stack, listen on a port.
func listening(t testing.TB, port int) (count int) {
	t.Helper()
	proc, err := procfs.NewDefaultFS()
	require.NoError(t, err)
	sockets, err := proc.NetTCP6()
	require.NoError(t, err)
	const listen = 10 // TCP_LISTEN in the kernel's include/net/tcp_states.h
	for _, s := range sockets {
		if s.St == listen && s.LocalPort == uint64(port) { //nolint:gosec // a port
			count++
		}
	}
	return count
}
