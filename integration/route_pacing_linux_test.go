package integration_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestRoutePacing: 250 KiB at 50 KiB a second take five seconds at the receiver, over every
// protocol, and requests at the same time share the limit of their connection.
func TestRoutePacing(t *testing.T) {
	t.Parallel()
	const share = 32_000 // an eighth
	s := newH3Site(t)
	plain := lab.Address(t)
	routes := fmt.Sprintf(`sockopt {
		pacing_rate 50KiB
	}
	sockopt /after {
		pacing_after 100KiB
		pacing_rate 50KiB
	}
	handle /share {
		echo_payload %d
	}
	handle {
		echo_payload %d
	}`, share, 8*share)
	c := lab.Spawn(t, "servers {\nprotocols h1 h2 h3\n}", s.site(routes)+fmt.Sprintf("\nhttp://%s {\n%s\n}", plain, routes))
	overTLS := func(h2 bool) *http.Client {
		var protocols http.Protocols
		protocols.SetHTTP1(!h2)
		protocols.SetHTTP2(h2)
		transport := &http.Transport{
			Protocols:       &protocols,
			TLSClientConfig: &tls.Config{RootCAs: s.certificate.Roots, ServerName: lab.Loopback, MinVersion: tls.VersionTLS12},
		}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: lab.Patience}
	}
	overMPTCP := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		var dialer net.Dialer
		dialer.SetMultipathTCP(true)
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if speaks, err := conn.(*net.TCPConn).MultipathTCP(); err != nil || !speaks && lab.Sysctl("net.mptcp.enabled") == "1" {
			return nil, errors.Join(err, errors.New("the connection does not speak MPTCP"))
		}
		return conn, nil
	}}
	t.Cleanup(overMPTCP.CloseIdleConnections)
	http3 := func() *http.Client { return s.client(t, lab.Loopback) }
	var wg sync.WaitGroup
	for _, test := range []struct {
		name     string
		client   *http.Client
		url      string
		requests int
		seconds  float64
	}{
		{"HTTP/1.1", http.DefaultClient, "http://" + plain, 1, 5},
		{"HTTP/1.1 over TLS", overTLS(false), "https://" + s.addr, 1, 5},
		{"HTTP/2", overTLS(true), "https://" + s.addr, 1, 5},
		{"HTTP/2, eight streams", overTLS(true), "https://" + s.addr + "/share", 8, 5},
		{"HTTP/3", http3(), "https://" + s.addr, 1, 5},
		{"HTTP/3, eight streams", http3(), "https://" + s.addr + "/share", 8, 5},
		{"HTTP/3 after 100 KiB", http3(), "https://" + s.addr + "/after", 1, 3},
		{"HTTP/1.1 after 100 KiB", http.DefaultClient, "http://" + plain + "/after", 1, 3},
		{"MPTCP", &http.Client{Transport: overMPTCP}, "http://" + plain, 1, 5},
	} {
		wg.Go(func() {
			if test.requests > 1 { // so that there is one connection
				if err := download(test.client, test.url); err != nil {
					t.Error(test.name, err)
				}
			}
			begin := time.Now()
			var streams sync.WaitGroup
			for range test.requests {
				streams.Go(func() {
					if err := download(test.client, test.url); err != nil {
						t.Error(test.name, err)
					}
				})
			}
			streams.Wait()
			took := time.Since(begin).Seconds()
			t.Logf("%s: %.2f s", test.name, took)
			if took < 0.9*test.seconds || took > 1.1*test.seconds {
				t.Errorf("%s: %.2f s, not %.0f", test.name, took, test.seconds)
			}
		})
	}
	wg.Wait()
	require.Empty(t, c.Warnings())
}

// download receives a response to its end.
func download(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// TestRoutePacingKeepsResponses: trailers, upgrades and a client that leaves are as without.
func TestRoutePacingKeepsResponses(t *testing.T) {
	left := make(chan struct{})
	backend := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/trailers":
			w.Header().Set("Trailer", "Sum")
			_, _ = w.Write(lab.Stars)
			w.Header().Set("Sum", "1")
		case "/endless":
			for r.Context().Err() == nil {
				_, _ = w.Write(lab.Stars)
			}
			close(left)
		case "/upgrade":
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.Copy(conn, rw)
		}
	})
	addr := lab.Address(t)
	lab.Spawn(t, "", fmt.Sprintf("http://%s {\nsockopt {\npacing_rate 50KiB\n}\nreverse_proxy %s\n}", addr, backend))
	resp, err := http.Get("http://" + addr + "/trailers") //nolint:noctx // it is short
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, string(lab.Stars), string(body))
	require.Equal(t, "1", resp.Trailer.Get("Sum"))

	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /upgrade HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nbody\n", addr)
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	upgraded, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, upgraded.StatusCode)
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "body\n", line)

	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/endless", nil)
	require.NoError(t, err)
	resp, err = http.DefaultClient.Do(req)
	require.NoError(t, err)
	cancel()
	resp.Body.Close()
	select {
	case <-left:
	case <-time.After(lab.Patience):
		t.Fatal("the backend's request goes on")
	}
}
