package integration_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestWholeRequestsCostNothing: where clients and backends send whole messages, quickack
// auto asks for next to no acknowledgements and causes next to no segments, whatever the
// protocol and however long the backend takes.
func TestWholeRequestsCostNothing(t *testing.T) {
	backend := func(delay time.Duration) string {
		server := lab.ServeStars(delay)
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	quick, slow := backend(0), backend(15*time.Millisecond)
	for _, handler := range []struct {
		name, stock, auto string
		requests          int
	}{
		{"echo_payload", "echo_payload", "echo_payload", lab.Long(150, 1500)},
		{"reverse_proxy", "reverse_proxy " + quick, "reverse_proxy " + quick, lab.Long(150, 1500)},
		{
			"reverse_proxy to h2c", "reverse_proxy h2c://" + quick,
			"reverse_proxy h2c://" + quick + " {\ntransport sockopt\n}", lab.Long(150, 1500),
		},
		{"a backend of 15 ms", "reverse_proxy " + slow, "reverse_proxy " + slow, lab.Long(40, 300)},
		{
			"a backend of 15 ms over h2c", "reverse_proxy h2c://" + slow,
			"reverse_proxy h2c://" + slow + " {\ntransport sockopt\n}", lab.Long(40, 300),
		},
	} {
		if strings.HasPrefix(handler.stock, "reverse_proxy 127") && !lab.IsLong() {
			continue // over h2c the same clients cost the same, and the backend is tried, too
		}
		t.Run(handler.name, func(t *testing.T) {
			t.Parallel()
			cert := lab.Certify(t)
			stock, auto := lab.Address(t), lab.Address(t)
			site := "https://%s {\ntls %s %[2]s\n%s\n}\n"
			c := lab.Spawn(t, fmt.Sprintf("servers :%s {\nlistener_wrappers {\nsockopt\n}\n}", lab.PortOf(auto)),
				fmt.Sprintf(site, stock, cert.File, handler.stock)+fmt.Sprintf(site, auto, cert.File, handler.auto))
			for _, load := range []struct {
				name           string
				http2          bool
				conns, streams int
			}{
				{"HTTP/1.1", false, 1, 1},
				{"HTTP/2", true, 1, 1},
				{"HTTP/2, 4 connections of 4 streams", true, 4, 4},
			} {
				if handler.requests < 100*load.conns && load.conns > 1 {
					continue // no connection has learned by then
				}
				t.Run(load.name, func(t *testing.T) {
					var total float64
					ask := func(addr string) (segments float64) {
						total = 0
						for range load.conns {
							n, sent := askWhole(t, addr, cert, load.http2, load.streams, handler.requests/load.conns)
							total += float64(n)
							segments += float64(sent)
						}
						return segments / total
					}
					acknowledged := func() float64 {
						s := statusOf(t, c)
						n := s.Listeners[0].Counters.Acknowledged
						for _, transport := range s.Transports {
							n += transport.Counters.Acknowledged
						}
						return float64(n)
					}
					// What a busy machine delays looks like a stall, and costs a trial.
					require.NoError(t, thrice(func() error {
						before, expected := acknowledged(), ask(stock)
						segments := ask(auto)
						acks := acknowledged() - before
						t.Logf("%v requests: %v acknowledgements; segments from Caddy: %.3f each, stock %.3f", total, acks, segments, expected)
						// Each connection wastes four before it has learned, and its backend's as many.
						if start := 8 * float64(load.conns); acks > start+.02*total {
							return fmt.Errorf("%v acknowledgements for %v requests", acks, total)
						}
						if load.streams == 1 && segments > expected+.05+10/total { // several share segments as it comes
							return fmt.Errorf("%.3f segments a request, stock %.3f", segments, expected)
						}
						return nil
					}))
				})
			}
		})
	}
}

// askWhole sends requests over one connection, some at a time, and returns how many,
// and how many segments came back.
func askWhole(t *testing.T, addr string, cert *lab.Certificate, http2 bool, streams, requests int) (sent, segments int) {
	t.Helper()
	var conn *net.TCPConn
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	client := &http.Client{Transport: &http.Transport{
		Protocols:       &protocols,
		MaxConnsPerHost: 1,
		TLSClientConfig: &tls.Config{RootCAs: cert.Roots, ServerName: lab.Loopback, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				conn = c.(*net.TCPConn)
			}
			return c, err
		},
	}}
	defer client.CloseIdleConnections()
	require.NoError(t, lab.Get(t.Context(), client, "https://"+addr))
	errs := make([]error, streams)
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() {
			for range requests / streams {
				if errs[i] = lab.Get(t.Context(), client, "https://"+addr); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	received, _ := lab.Segments(t, conn)
	return 1 + requests/streams*streams, received
}

// thrice returns nil as soon as f does, and the last of three errors otherwise.
func thrice(f func() error) (err error) {
	for range 3 {
		if err = f(); err == nil {
			return nil
		}
	}
	return err
}
