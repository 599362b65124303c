package socket

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

var full = flag.Bool("long", false, "have the tests of what AckAuto learns run with all their requests")

// count is how many requests a test sends: fewer without -long.
func count(all int) int {
	if *full {
		return all
	}
	return all / 3
}

// accepting wraps what it accepts as wrap says, and keeps it.
type accepting struct {
	net.Listener
	wrap func(*net.TCPConn) net.Conn

	mu    sync.Mutex
	conns []net.Conn
}

func (a *accepting) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	wrapped := a.wrap(c.(*net.TCPConn))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns = append(a.conns, wrapped)
	return wrapped, nil
}

// segments returns how many segments all connections have sent.
func (a *accepting) segments(t testing.TB) (out int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.conns {
		tcp, _ := TCPConn(c)
		if info, err := Info(tcp); err == nil { // the client may have closed one
			out += int(info.Segs_out)
		}
	}
	return out
}

// site is an HTTP server over TLS for HTTP/1.1 and HTTP/2, whose connections are
// Conns, or not where observer is nil.
type site struct {
	*httptest.Server
	*accepting
	observer *acks
}

func newSite(t testing.TB, mode AckMode, h http.Handler) *site {
	t.Helper()
	s := &site{Server: httptest.NewUnstartedServer(h), observer: new(acks)}
	s.accepting = &accepting{Listener: s.Server.Listener, wrap: func(c *net.TCPConn) net.Conn {
		if mode == "" {
			return c
		}
		conn, err := NewConn(c, AckOptions{Mode: mode}, s.observer)
		if err != nil {
			return c
		}
		return conn
	}}
	s.Server.Listener = s.accepting
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Server.Close)
	return s
}

// echo reads a request's body and answers with it.
func echo(after time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if after > 0 {
			time.Sleep(after)
		}
		w.Write(body)
	})
}

// slow is a handler's time that is longer than the shortest timer of Linux and
// shorter than its own.
const slow = 15 * time.Millisecond

// A client whose requests come in one piece costs next to nothing.
func TestWholeRequestsCostNothing(t *testing.T) {
	const body = 100
	cases := []struct {
		name           string
		protocol       string
		conns, streams int
		handler        http.Handler
		requests       int
		mostAcks       int // where not 0.02 a request
	}{
		{"HTTP/1.1", "http/1.1", 1, 1, echo(0), 3000, 0},
		{"HTTP/1.1, four connections", "http/1.1", 4, 1, echo(0), 3000, 0},
		{"HTTP/2", "h2", 1, 1, echo(0), 3000, 0},
		{"HTTP/2, four times four streams", "h2", 4, 4, echo(0), 3000, 0},
		{"HTTP/1.1, slow", "http/1.1", 1, 1, echo(slow), 300, 8},
		{"HTTP/2, slow", "h2", 1, 1, echo(slow), 300, 8},
		{"HTTP/2, four times four streams, slow", "h2", 4, 4, echo(slow), 3000, 0},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			n := count(tc.requests) / tc.conns / tc.streams
			total := n * tc.conns * tc.streams
			run := func(mode AckMode) (*site, float64) {
				s := newSite(t, mode, tc.handler)
				var wg sync.WaitGroup
				for range tc.conns {
					client := s.client(t, tc.protocol)
					ask(t, client, s.URL, body)
					for range tc.streams {
						wg.Go(func() {
							for range n {
								ask(t, client, s.URL, body)
							}
						})
					}
				}
				wg.Wait()
				return s, float64(s.segments(t)) / float64(total)
			}
			_, stock := run("")
			s, segments := run(AckAuto)
			t.Logf("%d requests: %d acknowledgements, %d wasted, %d times patient, %d stalls; segments for each request %.3f, %.3f without",
				total, s.observer.acknowledged.Load(), s.observer.wasted.Load(), s.observer.patient.Load(), s.observer.stalled.Load(), segments, stock)
			most := max(tc.mostAcks, total/50)
			require.LessOrEqual(t, int(s.observer.acknowledged.Load()), most)
		})
	}
}

// client returns a client with one connection of its own.
func (s *site) client(t testing.TB, protocol string) *http.Client {
	t.Helper()
	var p http.Protocols
	p.SetHTTP1(protocol == "http/1.1")
	p.SetHTTP2(protocol == "h2")
	transport := &http.Transport{
		TLSClientConfig: s.Server.Client().Transport.(*http.Transport).TLSClientConfig.Clone(),
		Protocols:       &p, MaxConnsPerHost: 1,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// ask sends one request with a body of size bytes and reads its response.
func ask(t testing.TB, client *http.Client, url string, size int) {
	response, err := client.Post(url, "text/plain", bytes.NewReader(make([]byte, size)))
	if err != nil {
		t.Error(err)
		return
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if n != int64(size) || err != nil {
		t.Error(n, err)
	}
}

// nagler is a client with Nagle's algorithm on that sends each piece of a request in
// a write, and so in a TLS record.
type nagler interface {
	// ask sends a request, in pieces or as a whole, and waits for its response.
	ask(inPieces bool) error
}

func (s *site) nagler(t testing.TB, protocol string) nagler {
	t.Helper()
	raw, err := net.Dial("tcp", s.Server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { raw.Close() })
	require.NoError(t, raw.(*net.TCPConn).SetNoDelay(false))
	config := s.Server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos, config.ServerName = []string{protocol}, "example.com"
	conn := tls.Client(raw, config)
	require.NoError(t, conn.Handshake())
	if protocol == "http/1.1" {
		return &nagler1{conn, bufio.NewReader(conn)}
	}
	c := &nagler2{conn: conn, stream: 1}
	c.framer = http2.NewFramer(&c.out, bufio.NewReader(conn))
	c.encoder = hpack.NewEncoder(&c.header)
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	require.NoError(t, c.framer.WriteSettings())
	require.NoError(t, c.flush(false))
	return c
}

type nagler1 struct {
	conn   net.Conn
	reader *bufio.Reader
}

func (c *nagler1) ask(inPieces bool) error {
	pieces := []string{"POST / HTTP/1.1\r\nHost: example.com\r\n", "Content-Length: 10\r\n\r\n", "0123456789"}
	if !inPieces {
		pieces = []string{pieces[0] + pieces[1] + pieces[2]}
	}
	for _, piece := range pieces {
		if _, err := io.WriteString(c.conn, piece); err != nil {
			return err
		}
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

type nagler2 struct {
	conn    net.Conn
	framer  *http2.Framer
	out     bytes.Buffer
	header  bytes.Buffer
	encoder *hpack.Encoder
	stream  uint32
}

// frameHeader is the size of a frame's header in bytes (RFC 9113, section 4.1).
const frameHeader = 9

// flush sends what the framer wrote; in pieces it sends HEADERS, the header of DATA
// and its payload apart.
func (c *nagler2) flush(inPieces bool) error {
	defer c.out.Reset()
	all := c.out.Bytes()
	if !inPieces {
		_, err := c.conn.Write(all)
		return err
	}
	headers := frameHeader + (int(all[0])<<16 | int(all[1])<<8 | int(all[2]))
	for _, piece := range [][]byte{all[:headers], all[headers : headers+frameHeader], all[headers+frameHeader:]} {
		if _, err := c.conn.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

func (c *nagler2) ask(inPieces bool) error {
	c.header.Reset()
	for _, field := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "example.com"}, {":path", "/"}} {
		if err := c.encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return err
		}
	}
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.stream, BlockFragment: c.header.Bytes(), EndHeaders: true})
	if err != nil {
		return err
	}
	if err := c.framer.WriteData(c.stream, true, []byte("0123456789")); err != nil {
		return err
	}
	if err := c.flush(inPieces); err != nil {
		return err
	}
	defer func() { c.stream += 2 }()
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return err
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				if err := c.framer.WriteSettingsAck(); err != nil {
					return err
				}
				if err := c.flush(false); err != nil {
					return err
				}
			}
		case *http2.GoAwayFrame, *http2.RSTStreamFrame:
			return fmt.Errorf("%v", f)
		}
		if h := frame.Header(); h.StreamID == c.stream && h.Flags.Has(http2.FlagDataEndStream) {
			return nil
		}
	}
}

// A client that sends requests in pieces waits a few times at most.
func TestNagleClientsDoNotWait(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		for _, nth := range []int{1, 3, 20} {
			t.Run(fmt.Sprintf("%s/one in %d", protocol, nth), func(t *testing.T) {
				s := newSite(t, AckAuto, echo(0))
				c := s.nagler(t, protocol)
				took := make([]time.Duration, count(600))
				for i := range took {
					begin := time.Now()
					require.NoError(t, c.ask(i%nth == nth-1))
					took[i] = time.Since(begin)
				}
				over := func(least time.Duration) (n int) {
					for _, d := range took {
						if d > least {
							n++
						}
					}
					return n
				}
				kernels, short := over(30*time.Millisecond), over(5*time.Millisecond)
				slices.Sort(took)
				median := took[len(took)/2]
				t.Logf("median %v, most %v, %d over 5 ms, %d over 30 ms; %d acknowledgements, %d wasted, %d times patient, %d stalls",
					median, took[len(took)-1], short, kernels,
					s.observer.acknowledged.Load(), s.observer.wasted.Load(), s.observer.patient.Load(), s.observer.stalled.Load())
				require.Less(t, median, 10*time.Millisecond)
				require.LessOrEqual(t, kernels, 3)
				if shortens(t) {
					require.LessOrEqual(t, short, 8)
				}
			})
		}
	}
}

// shortens reports whether this kernel takes TCP_DELACK_MAX_US.
func shortens(t testing.TB) bool {
	t.Helper()
	accepted, _ := pair(t)
	_, err := Get(accepted, DelayedAckMax)
	return err == nil
}
