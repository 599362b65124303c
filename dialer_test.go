package sockopt

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// dialerOf returns the dialer of a provisioned transport.
func dialerOf(t *testing.T, config reverseproxy.HTTPTransport) *dialer {
	t.Helper()
	transport := &Transport{HTTPTransport: config}
	provisionedTransport(t, transport)
	return transport.dialer
}

// TestDialerIsThatOfTheHTTPTransport: the settings that no connection shows.
func TestDialerIsThatOfTheHTTPTransport(t *testing.T) {
	d := dialerOf(t, reverseproxy.HTTPTransport{})
	require.Equal(t, 3*time.Second, d.Timeout)
	require.Zero(t, d.FallbackDelay)
	require.Equal(t, net.KeepAliveConfig{Enable: true, Interval: 30 * time.Second}, d.KeepAliveConfig)
	require.Nil(t, d.LocalAddr)
	require.Nil(t, d.Resolver)
	require.False(t, d.MultipathTCP())

	d = dialerOf(t, reverseproxy.HTTPTransport{
		DialTimeout:   caddy.Duration(time.Minute),
		FallbackDelay: -1,
		KeepAlive:     &reverseproxy.KeepAlive{ProbeInterval: -1},
		LocalAddress:  "127.0.0.1:1234",
		Resolver:      &reverseproxy.UpstreamResolver{Addresses: []string{"127.0.0.1:5353"}},
	})
	require.Equal(t, time.Minute, d.Timeout)
	require.Equal(t, time.Duration(-1), d.FallbackDelay)
	require.False(t, d.KeepAliveConfig.Enable)
	require.Negative(t, d.KeepAlive)
	require.Equal(t, "127.0.0.1:1234", d.LocalAddr.String())
	require.NotNil(t, d.Resolver)

	d = dialerOf(t, reverseproxy.HTTPTransport{LocalAddress: "unix/name"})
	require.Equal(t, &net.UnixAddr{Net: "unix", Name: "name"}, d.LocalAddr)
	require.Empty(t, d.beforeSYN)
}

// TestDialErrors: reverse_proxy sends a request again after them.
func TestDialErrors(t *testing.T) {
	_, _, err := dialerOf(t, reverseproxy.HTTPTransport{}).dial(t.Context(), "tcp", lab.Address(t), nil)
	require.ErrorAs(t, err, new(reverseproxy.DialError))
}

// TestRefusedBeforeSYN: a connection goes on without an option, and is not opened without
// its interface.
func TestRefusedBeforeSYN(t *testing.T) {
	if !socket.QuickAck.Supported() {
		t.Skip("nothing is set before the SYN here")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	var refused refusals
	d := &dialer{
		beforeSYN: []socket.Setting{{Option: socket.Raw(6, 1000)}, {Option: socket.UserTimeout, Value: socket.Value{Number: 20_000}}},
	}
	for _, address := range []string{ln.Addr().String(), ":" + lab.PortOf(ln.Addr().String())} {
		refused = nil
		conn, took, err := d.dial(t.Context(), "tcp", address, &refused)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		require.Equal(t, refusals{"level 6 option 1000"}, refused, address)
		require.Positive(t, took)
		timeout, err := socket.Get(conn.(*net.TCPConn), socket.UserTimeout)
		require.NoError(t, err)
		require.EqualValues(t, 20_000, timeout.Number)
	}

	d.beforeSYN = []socket.Setting{{Option: socket.Interface, Value: socket.Value{Text: "none0"}}}
	_, _, err = d.dial(t.Context(), "tcp", ln.Addr().String(), &refused)
	require.ErrorContains(t, err, "interface none0: setsockopt: no such device")
	require.ErrorAs(t, err, new(reverseproxy.DialError))
}

// refusals is a socket.RefusalObserver.
type refusals []string

func (r *refusals) Refused(_ net.Conn, o socket.Option, _ error) { *r = append(*r, o.Name) }

// TestPlaceholdersAllocateLittle bounds what a request costs beyond transport http in
// Caddy where the configuration may name placeholders: a hook, what it finds, the variable
// that has it, and a provider of placeholders.
func TestPlaceholdersAllocateLittle(t *testing.T) {
	addr := serveSmall(t)
	buf := make([]byte, 4096)
	count := func(transport roundTripper) float64 {
		provisionedTransport(t, transport)
		var failed error
		allocations := testing.AllocsPerRun(1000, func() {
			repl := caddy.NewReplacer()
			repl.Map(func(string) (any, bool) { return nil, false }) // as Caddy's server has one
			ctx := context.WithValue(context.Background(), caddy.ReplacerCtxKey, repl)
			ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))
			ctx = asReverseProxy(ctx, addr)
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr, nil)
			if err != nil {
				failed = err
				return
			}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				failed = err
				return
			}
			for err == nil {
				_, err = resp.Body.Read(buf)
			}
			failed = errors.Join(failed, resp.Body.Close())
		})
		require.NoError(t, failed)
		return allocations
	}
	stock, ours := count(new(reverseproxy.HTTPTransport)), count(new(Transport))
	t.Logf("allocations a request: transport http %v, transport sockopt %v", stock, ours)
	require.LessOrEqual(t, ours, stock+5)
}

// serveSmall is a backend that allocates nothing for a request.
func serveSmall(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	response := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				buf := make([]byte, 4096)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						conn.Close()
						return
					}
					if bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
						_, _ = conn.Write(response)
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}
