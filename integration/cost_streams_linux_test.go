package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

const streamPause = 10 * time.Millisecond

// streamMessages is how many messages each stream has.
func streamMessages() int { return lab.Long(100, 300) }

// TestCountsOfStreams: who sends messages without an answer waits for no acknowledgement. Once a
// connection has learned that, it costs at most one system call and one segment more than with stock
// Caddy for each twenty messages.
func TestCountsOfStreams(t *testing.T) {
	t.Parallel() // it waits most of the time
	// What a busy machine delays looks like a stall, and costs a trial.
	require.NoError(t, thrice(func() error {
		stock, auto := countStreams(t)
		messages := 5 * streamMessages()
		t.Logf("%d messages; stock: %d system calls, %d segments; auto: %d and %d", messages, stock.calls, stock.segments, auto.calls, auto.segments)
		const learning = 8 * 8 // eight connections, and for four acknowledgements a question each
		if most := learning + messages/20; auto.calls > stock.calls+most || auto.segments > stock.segments+most {
			return fmt.Errorf("more than %d system calls or segments more", most)
		}
		return nil
	}))
}

// countStreams has a stock site and one with sockopt serve the same streams.
func countStreams(t *testing.T) (stock, auto *streamed) {
	t.Helper()
	var l lab.Sites
	sites := []*streamed{{}, {}}
	for i, w := range []lab.Wrapping{lab.Stock, lab.Auto} {
		s := sites[i]
		s.start(t)
		transport := []string{"http", "sockopt"}[i]
		s.Site = l.Add(t, w, lab.H2C, fmt.Sprintf("reverse_proxy /grpc/* %s {\ntransport %s {\nversions h2c 2\n}\n}\n"+
			"reverse_proxy %s {\nflush_interval -1\ntransport %[2]s\n}", s.grpc.Addr(), transport, s.http.Addr()))
	}
	system := l.Record(t, "setsockopt,getsockopt", func(t *testing.T) {
		var wg sync.WaitGroup
		for _, s := range sites {
			for _, stream := range []func(*testing.T) error{s.webSocket, s.upload, s.events, s.grpcUp, s.grpcDown} {
				wg.Go(func() {
					if err := stream(t); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		for _, s := range sites {
			for _, k := range []*keeping{&s.http, &s.grpc, &s.clients} {
				k.mu.Lock() // Caddy dials two at once, and closes one
				for _, c := range k.conns {
					if info, err := socket.Info(c); err == nil {
						s.segments += int(info.Segs_in + info.Segs_out)
					}
				}
				k.mu.Unlock()
			}
		}
	})
	for _, s := range sites {
		s.calls = len(system.Like(`^[gs]etsockopt\(` + s.Descriptor()))
		for _, backend := range []net.Addr{s.http.Addr(), s.grpc.Addr()} {
			s.calls += len(system.Like(fmt.Sprintf(`^[gs]etsockopt\(\d+<TCP[^>]*->[^>]*:%s\W`, lab.PortOf(backend.String()))))
		}
	}
	return sites[0], sites[1]
}

// streamed is a site with two backends, and what its streams cost.
type streamed struct {
	lab.Site
	http, grpc, clients keeping

	calls, segments int
}

// keeping is a listener that keeps the connections which it accepts.
type keeping struct {
	net.Listener
	mu    sync.Mutex
	conns []*net.TCPConn
}

func (k *keeping) Accept() (net.Conn, error) { return k.keep(k.Listener.Accept()) }

func (k *keeping) keep(c net.Conn, err error) (net.Conn, error) {
	if err == nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.conns = append(k.conns, c.(*net.TCPConn))
	}
	return c, err
}

// start starts the backends. Their streams are open until the test ends.
func (s *streamed) start(t *testing.T) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/websocket", func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		send(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(io.Discard, rw)
	})
	mux.HandleFunc("/upload", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		_ = paced(streamPause, func() error {
			_, _ = io.WriteString(w, strings.Repeat("*", 99)+"\n")
			return http.NewResponseController(w).Flush()
		})
		<-r.Context().Done()
	})
	backend := httptest.NewUnstartedServer(mux)
	s.http.Listener = backend.Listener
	backend.Listener = &s.http
	backend.Start()
	t.Cleanup(backend.CloseClientConnections)

	var err error
	s.grpc.Listener, err = net.Listen("tcp", lab.Loopback+":0")
	require.NoError(t, err)
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if method, _ := grpc.MethodFromServerStream(stream); method == "/grpc/down" {
			if err := paced(2*streamPause, func() error { return stream.SendMsg(grpcMessage) }); err != nil {
				return err
			}
		}
		for {
			if err := stream.RecvMsg(new(grpc_health_v1.HealthCheckRequest)); err != nil {
				return err
			}
		}
	}))
	go func() { _ = server.Serve(&s.grpc) }()
	t.Cleanup(server.Stop)
}

var grpcMessage = &grpc_health_v1.HealthCheckRequest{Service: strings.Repeat("*", 98)}

// paced calls f for each message of a stream.
func paced(pause time.Duration, f func() error) error {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for range streamMessages() {
		<-tick.C
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// request opens a connection and sends a request without its body.
func (s *streamed) request(t *testing.T, head string) (net.Conn, error) {
	conn, err := s.clients.keep(net.Dial("tcp", s.Addr))
	if err == nil {
		t.Cleanup(func() { conn.Close() })
		_, err = fmt.Fprintf(conn, "%s\r\nHost: %s\r\n\r\n", head, s.Addr)
	}
	return conn, err
}

func (s *streamed) webSocket(t *testing.T) error {
	conn, err := s.request(t, "GET /websocket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket")
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("%v %w", resp, err)
	}
	return paced(streamPause, func() error {
		_, err := io.WriteString(conn, strings.Repeat("*", 100))
		return err
	})
}

func (s *streamed) upload(t *testing.T) error {
	conn, err := s.request(t, "POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked")
	if err != nil {
		return err
	}
	return paced(streamPause, func() error {
		_, err := fmt.Fprintf(conn, "64\r\n%s\r\n", strings.Repeat("*", 100))
		return err
	})
}

func (s *streamed) events(t *testing.T) error {
	conn, err := s.request(t, "GET /events HTTP/1.1")
	if err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, resp.Body, int64(100*streamMessages()))
	return err
}

// stream opens a stream of gRPC.
func (s *streamed) stream(t *testing.T, method string) (grpc.ClientStream, error) {
	conn, err := grpc.NewClient(s.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return s.clients.keep(new(net.Dialer).DialContext(ctx, "tcp", addr))
		}))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	return conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
}

func (s *streamed) grpcUp(t *testing.T) error {
	stream, err := s.stream(t, "/grpc/up")
	if err != nil {
		return err
	}
	return paced(2*streamPause, func() error { return stream.SendMsg(grpcMessage) })
}

func (s *streamed) grpcDown(t *testing.T) error {
	stream, err := s.stream(t, "/grpc/down")
	if err != nil {
		return err
	}
	for range streamMessages() {
		if err := stream.RecvMsg(new(grpc_health_v1.HealthCheckRequest)); err != nil {
			return err
		}
	}
	return nil
}
