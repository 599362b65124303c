package integration_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// listenerLabel is what the metrics of a site have for an address: Caddy listens
// on its port alone.
func listenerLabel(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return fmt.Sprintf(`address="[::]:%s",direction="accepted"`, port)
}

// TestMetricsSurviveReloads scrapes before and after twenty of them.
func TestMetricsSurviveReloads(t *testing.T) {
	g := newGate(t)
	addr := lab.Address(t)
	global := lab.Wrappers("sockopt {\nmetrics\nraw 0 10 3\n}")
	sites := fmt.Sprintf(`http://%s {
		sockopt /paced {
			pacing_rate 1GiB
		}
		reverse_proxy %s {
			transport sockopt {
				socket {
					metrics
				}
			}
		}
	}`, addr, g.Listener.Addr())
	c := inprocess.Run(t, global, sites)
	const requests = 3
	ask := func() {
		for range requests {
			client, _ := singleClient(t, false)
			requirePayload(t, client, "http://"+addr+"/paced")
			client.CloseIdleConnections()
		}
	}
	listener := listenerLabel(t, addr)
	counts := func(name, labels string, want float64) {
		t.Helper()
		require.Eventually(t, func() bool {
			got, ok := c.Metric(name, labels)
			return ok && got == want
		}, lab.Patience, 10*time.Millisecond, "%s %s is not %v", name, labels, want)
	}
	ask()
	counts("connections_total", listener, requests)
	counts("rtt_seconds_count", listener, requests)
	counts("min_rtt_seconds_count", listener, requests)
	for load := range 20 {
		configuration := c.Caddyfile(global, sites+fmt.Sprintf("\n# %d\n", load))
		status, answer := c.Load("text/caddyfile", strings.Replace(configuration, "metrics\nraw", fmt.Sprintf("metrics\nuser_timeout %ds\nraw", load+1), 1))
		require.Equal(t, http.StatusOK, status, answer)
	}
	counts("connections_total", listener, requests)
	counts("rtt_seconds_count", listener, requests)
	require.Eventually(t, func() bool {
		return lab.Get(t.Context(), http.DefaultClient, "http://"+addr) == nil
	}, lab.Patience, time.Millisecond)
	http.DefaultClient.CloseIdleConnections()
	before, _ := c.Metric("connections_total", listener)
	ask()
	counts("connections_total", listener, before+requests)
	counts("rtt_seconds_count", listener, before+requests)

	sent, ok := c.Metric("acked_bytes_total", listener)
	require.True(t, ok)
	require.GreaterOrEqual(t, sent, float64(2*requests*len(lab.Stars)))
	for _, name := range []string{
		"acknowledgements_total", "suspected_stalls_total", "unreachable_connections_total", "received_bytes_total",
		"retransmitted_segments_total", "busy_seconds_total", "rwnd_limited_seconds_total", "sndbuf_limited_seconds_total",
	} {
		_, ok := c.Metric(name, listener)
		require.True(t, ok, name)
	}
	dialed, ok := c.Metric("connections_total", fmt.Sprintf(`upstream="%s"`, g.Listener.Addr()))
	require.True(t, ok)
	require.Positive(t, dialed)
}

// TestStallsAreCounted: each of a Nagle client where nothing prevents them, and
// none otherwise.
func TestStallsAreCounted(t *testing.T) {
	t.Parallel()
	requests := lab.Long(10, 25)
	slow := newGate(t)
	slowly := slow.Config.Handler
	slow.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// As long as a delayed acknowledgement.
		timer := time.NewTimer(100 * time.Millisecond)
		<-timer.C
		slowly.ServeHTTP(w, r)
	})
	for _, test := range []struct {
		name     string
		wrapping lab.Wrapping
		protocol lab.Protocol
		handler  string
		pieces   bool
		pause    time.Duration // between requests, of a client that is idle
		stalls   bool
	}{
		{name: "off", wrapping: lab.Off, protocol: lab.Plain, handler: "echo_payload", pieces: true, stalls: true},
		{name: "off, TLS", wrapping: lab.Off, protocol: lab.TLS, handler: "echo_payload", pieces: true, stalls: true},
		{name: "auto", wrapping: lab.Auto, protocol: lab.Plain, handler: "echo_payload", pieces: true},
		{name: "on", wrapping: lab.On, protocol: lab.Plain, handler: "echo_payload", pieces: true},
		{name: "off, idle", wrapping: lab.Off, protocol: lab.Plain, handler: "echo_payload", pause: 60 * time.Millisecond},
		{name: "off, idle, TLS", wrapping: lab.Off, protocol: lab.TLS, handler: "echo_payload", pause: 60 * time.Millisecond},
		{name: "off, slow handler", wrapping: lab.Off, protocol: lab.Plain, handler: "reverse_proxy " + slow.Listener.Addr().String()},
		{name: "off, slow handler, TLS", wrapping: lab.Off, protocol: lab.TLS, handler: "reverse_proxy " + slow.Listener.Addr().String()},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			var l lab.Sites
			server := l.Add(t, test.wrapping, test.protocol, test.handler)
			c := l.Spawn(t)
			client := server.DialNagle(t)
			send := client.Send
			if test.pieces {
				send = client.SendInPieces
			}
			first := 1 // over TLS the first request waits for the end of the handshake
			if test.pieces {
				first = warmUp
			}
			for range first {
				client.Ask(t, send)
			}
			labels := listenerLabel(t, server.Addr)
			before, ok := c.Metric("suspected_stalls_total", labels)
			require.True(t, ok)
			for range requests {
				client.Ask(t, send)
				<-time.After(test.pause)
			}
			after, _ := c.Metric("suspected_stalls_total", labels)
			t.Logf("%v stalls in %d requests", after-before, requests)
			if !test.stalls {
				require.Zero(t, after-before)
				// Over TLS the first request does stall: Nagle's algorithm holds it
				// back until the end of the handshake is acknowledged.
				if test.wrapping != lab.Off || test.protocol != lab.TLS {
					require.NotContains(t, c.Logged(), "suspected stall")
				}
				return
			}
			// A busy machine makes some wait for longer than a timer.
			require.Greater(t, after-before, float64(requests/2))
			require.LessOrEqual(t, after-before, float64(requests))
			require.Contains(t, c.Logged(), "suspected stall")
		})
	}
}

// TestStallsOfNewConnectionsAreCounted: over TLS a client with Nagle's algorithm on waits
// once for each new connection.
func TestStallsOfNewConnectionsAreCounted(t *testing.T) {
	t.Parallel()
	var l lab.Sites
	off, auto := l.Add(t, lab.Off, lab.TLS, "echo_payload"), l.Add(t, lab.Auto, lab.TLS, "echo_payload")
	c := l.Spawn(t)
	var client handshake
	for range batch {
		client.ask(t, off.Addr, client.config(t, &l))
		client.ask(t, auto.Addr, client.config(t, &l))
	}
	stalls, _ := c.Metric("suspected_stalls_total", listenerLabel(t, off.Addr))
	require.Greater(t, stalls, float64(batch/2)) // a busy machine makes some wait for longer than a timer
	require.LessOrEqual(t, stalls, float64(batch))
	acknowledged, _ := c.Metric("acknowledgements_total", listenerLabel(t, auto.Addr))
	require.GreaterOrEqual(t, acknowledged, float64(batch))
}
