package sockopt

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/connection"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// names are the configuration names of settings.
func names(settings []socket.Setting) (names []string) {
	for _, s := range settings {
		names = append(names, options.NameOf(s.Option.Name))
	}
	return names
}

// inheriting are options. Connections have one from Go, two from the listening socket,
// and do not inherit the rest.
func inheriting() options.Options {
	return options.Options{
		NoDelay: new(true), RecvBuffer: new(options.Size(100 << 10)), SendBuffer: new(options.Size(100 << 10)),
		Priority: new(options.Number(3)), DSCP: new(options.DSCP(10)),
	}
}

// TestQueuedConnectionsHaveTheOptions: connections that waited before the options were set
// on the listening socket do not inherit them, and get all of them.
func TestQueuedConnectionsHaveTheOptions(t *testing.T) {
	server := &caddyhttp.Server{Listen: []string{":80"}}
	w, logs := provisioned(t, inheriting(), server)
	if w.server.sharesListeners() {
		t.Skip("net.ipv4.tcp_migrate_req makes the kernel move connections between listening sockets")
	}
	require.Equal(t, []string{"nodelay", "recv_buffer", "send_buffer"}, names(w.inherited))
	config := w.server.listenConfig()
	inner, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer inner.Close()
	const queued = 3
	for range queued {
		client, err := net.Dial("tcp", inner.Addr().String())
		require.NoError(t, err)
		defer client.Close()
	}
	ln := w.WrapListener(inner).(*listener)
	require.EqualValues(t, queued+maxHandshaking(), ln.early.Load())
	require.Equal(t, []string{"dscp", "priority"}, names(ln.rest))
	for range queued {
		accepted, err := ln.Accept()
		require.NoError(t, err)
		defer accepted.Close()
		tcp, ok := socket.TCPConn(accepted)
		require.True(t, ok)
		for _, s := range w.resolved.Settings[options.Accept] {
			value, err := socket.Get(tcp, s.Option)
			require.NoError(t, err)
			require.Equal(t, s.Value, s.Option.AsSet(value), s.Option.Name)
		}
	}
	require.EqualValues(t, maxHandshaking(), ln.early.Load())
	require.Zero(t, logs.Len(), logs.All())
}

// TestSharedListenersAreLeftAlone: where another configuration may have the same
// listening socket, or a plugin's listener hides it, everything that Go does not set is
// set on each connection.
func TestSharedListenersAreLeftAlone(t *testing.T) {
	for name, server := range map[string]*caddyhttp.Server{
		"given by descriptor": {Listen: []string{"fd/3"}},
		"of another app":      nil,
	} {
		t.Run(name, func(t *testing.T) {
			o := inheriting()
			o.UserTimeout = new(options.Duration(30e9))
			w, _ := provisioned(t, o, server)
			var config net.ListenConfig
			config.SetMultipathTCP(false)
			inner, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer inner.Close()
			ln := w.WrapListener(inner).(*listener)
			want := names(w.resolved.Settings[options.Accept])
			if server != nil {
				want = slices.DeleteFunc(want, func(name string) bool { return name == "nodelay" })
			}
			require.Equal(t, want, names(ln.rest))
			timeout, err := socket.Get(inner.(*net.TCPListener), socket.UserTimeout)
			require.NoError(t, err)
			require.Zero(t, timeout.Number)
		})
	}
}

// TestAttachAllocatesNothingPerOption compares connections that get one option and ten.
func TestAttachAllocatesNothingPerOption(t *testing.T) {
	conn, _ := tcpPair(t)
	for _, lines := range [][]string{lab.TenUsual, lab.TenCostly} {
		allocs := func(lines []string) float64 {
			w := new(ListenerWrapper)
			require.NoError(t, unmarshal(w, "sockopt"+block(lines...)))
			w, logs := provisioned(t, w.Options, nil)
			ln := w.WrapListener(script(t)).(*listener)
			settings := w.resolved.Settings[options.Accept]
			require.NotEmpty(t, settings)
			before := logs.Len()
			allocs := testing.AllocsPerRun(1000, func() { connection.Attach(conn, settings, &w.resolved, ln.observer) })
			require.Equal(t, before, logs.Len(), logs.All())
			return allocs
		}
		one := allocs(lines[:1])
		t.Logf("%v allocations", one)
		require.InDelta(t, one, allocs(lines), 0)
	}
}
