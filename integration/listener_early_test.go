package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestEarlyResponses: where the answer is there before the whole request, as a 413 is, as
// many clients receive it as from stock Caddy. They may not: net/http closes the
// connection while bytes of the client are under way, and the kernel resets it then.
func TestEarlyResponses(t *testing.T) {
	t.Parallel() // it waits most of the time
	answers := lab.Long(20, 200)
	wrappings := []struct {
		lab.Wrapping
		route string
	}{
		{Wrapping: lab.Stock},
		{Wrapping: lab.Auto},
		{Wrapping: lab.Wrapping{Name: "linger 0s", Lines: "sockopt {\nlinger 0s\n}"}},
		{Wrapping: lab.Wrapping{Name: "user_timeout 10s", Lines: "sockopt {\nuser_timeout 10s\n}"}},
		{Wrapping: lab.Wrapping{Name: "cork on", Lines: "sockopt"}, route: "sockopt {\ncork on\n}"},
		{Wrapping: lab.Wrapping{Name: "cork on alone"}, route: "sockopt {\ncork on\n}"},
	}
	backend := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for _, handler := range []struct{ name, directives string }{
		{"at once", "respond 413"},
		{"after 64 KiB", "request_body {\nmax_size 64KiB\n}\nreverse_proxy " + backend},
	} {
		var sites lab.Sites
		for _, p := range []lab.Protocol{lab.Plain, lab.TLS} {
			for _, w := range wrappings {
				sites.Add(t, w.Wrapping, p, "route {\n"+w.route+"\n"+handler.directives+"\n}")
			}
		}
		sites.Spawn(t)
		for _, client := range []struct {
			name string
			lab.Protocol
			post  func(context.Context, lab.Site) error
			short bool // in the short form, too
		}{
			{"HTTP/1.1", lab.Plain, postHTTP1, false},
			{"HTTP/1.1, Connection: close", lab.Plain, postAndClose, true},
			{"HTTP/1.1, Connection: close, reads on", lab.Plain, postAndReadOn, true},
			{"TLS", lab.TLS, postHTTP1, true},
			{"TLS, Connection: close", lab.TLS, postAndClose, false},
			{"TLS, Connection: close, reads on", lab.TLS, postAndReadOn, false},
			{"HTTP/2", lab.TLS, postHTTP2, true},
		} {
			if !client.short && !lab.IsLong() {
				continue
			}
			t.Run(handler.name+"/"+client.name, func(t *testing.T) {
				var mu sync.Mutex
				arrived, failed := make(map[string]int), make(map[string]error)
				for range answers {
					var posts sync.WaitGroup // one to each site
					for _, site := range sites.All {
						if site.Protocol != client.Protocol {
							continue
						}
						posts.Go(func() {
							err := client.post(t.Context(), site)
							mu.Lock()
							defer mu.Unlock()
							if err != nil {
								failed[site.Name] = err
							} else {
								arrived[site.Name]++
							}
						})
					}
					posts.Wait()
				}
				// Four standard deviations of the difference, for shares near one half.
				margin := 4 * math.Sqrt(float64(answers)/2)
				for _, w := range wrappings {
					t.Logf("%s: %d of %d answers arrived; the last error: %v", w.Name, arrived[w.Name], answers, failed[w.Name])
					require.Greater(t, float64(arrived[w.Name]), float64(arrived[lab.Stock.Name])-margin, "with %s", w.Name)
				}
			})
		}
	}
}

var tooLarge = make([]byte, 4<<20)

func postHTTP1(ctx context.Context, site lab.Site) error {
	return postOver(ctx, site, &http.Transport{})
}

func postAndClose(ctx context.Context, site lab.Site) error {
	return postOver(ctx, site, &http.Transport{DisableKeepAlives: true})
}

func postHTTP2(ctx context.Context, site lab.Site) error {
	return postOver(ctx, site, &http.Transport{ForceAttemptHTTP2: true})
}

// postOver sends a request that is too large over a connection of its own.
func postOver(ctx context.Context, site lab.Site, transport *http.Transport) error {
	transport.TLSClientConfig = &tls.Config{RootCAs: site.Roots, MinVersion: tls.VersionTLS12}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, lab.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, site.URL(), bytes.NewReader(tooLarge))
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if transport.ForceAttemptHTTP2 != (resp.ProtoMajor == 2) {
		return fmt.Errorf("protocol %s", resp.Proto)
	}
	return isTooLarge(resp)
}

// postAndReadOn reads the answer also where it could not send the whole request.
func postAndReadOn(ctx context.Context, site lab.Site) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", site.Addr)
	if err != nil {
		return err
	}
	if site.Protocol == lab.TLS {
		conn = tls.Client(conn, &tls.Config{RootCAs: site.Roots, ServerName: lab.Loopback, MinVersion: tls.VersionTLS12})
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		return err
	}
	go func() {
		_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", site.Addr, len(tooLarge))
		_, _ = conn.Write(tooLarge)
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return isTooLarge(resp)
}

func isTooLarge(resp *http.Response) error {
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil
}
