package socket

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// count is how many requests a test sends: fewer without -long.
func count(all int) int { return lab.Long(all/3, all) }

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

// A protocol is what clients and servers speak over their Conns.
type protocol string

const (
	overTLS protocol = "HTTP/1.1 over TLS"
	h2      protocol = "HTTP/2 over TLS"
	h2c     protocol = "HTTP/2 without TLS"
	plain   protocol = "HTTP/1.1 without TLS"
)

func (p protocol) secure() bool { return p == overTLS || p == h2 }

// forHTTP is p as net/http has it.
func (p protocol) forHTTP() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(p == overTLS || p == plain)
	protocols.SetHTTP2(p == h2)
	protocols.SetUnencryptedHTTP2(p == h2c)
	return protocols
}

// site is an HTTP server. Its connections are Conns where mode says how they
// acknowledge, and have Nagle's algorithm where nagle says so.
type site struct {
	*httptest.Server
	*accepting
	protocol protocol
	mode     AckMode
	keep     bool // KeepDelayedAckMax
	nagle    bool
	observer acks
}

func (s *site) start(t testing.TB, h http.Handler) {
	t.Helper()
	s.Server = httptest.NewUnstartedServer(h)
	s.accepting = &accepting{Listener: s.Server.Listener, wrap: func(c *net.TCPConn) net.Conn {
		if s.nagle {
			require.NoError(t, c.SetNoDelay(false))
		}
		return conn(t, c, AckOptions{Mode: s.mode, KeepDelayedAckMax: s.keep}, &s.observer)
	}}
	s.Server.Listener = s.accepting
	s.Config.Protocols = s.protocol.forHTTP()
	if s.protocol.secure() {
		s.EnableHTTP2 = s.protocol == h2
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Server.Close)
}

// conn returns c as a Conn where the options say how it acknowledges.
func conn(t testing.TB, c *net.TCPConn, options AckOptions, observer Observer) net.Conn {
	if options.Mode == "" {
		return c
	}
	wrapped, err := NewConn(c, options, observer)
	if err != nil {
		t.Error(err)
		return c
	}
	return wrapped
}

// client returns a client with one connection of its own, a Conn where mode says how
// it acknowledges.
func (s *site) client(t testing.TB, mode AckMode, observer *acks) *http.Client {
	t.Helper()
	transport := &http.Transport{
		Protocols: s.protocol.forHTTP(), MaxConnsPerHost: 1,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return conn(t, c.(*net.TCPConn), AckOptions{Mode: mode}, observer), nil
		},
	}
	if s.protocol.secure() {
		transport.TLSClientConfig = s.trust()
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: settling{transport}}
}

// trust returns a configuration for clients of s.
func (s *site) trust() *tls.Config {
	config := s.Server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "example.com"
	return config
}

// settling tells a connection that a response was read to its end.
type settling struct{ http.RoundTripper }

func (s settling) RoundTrip(r *http.Request) (*http.Response, error) {
	var acking *Conn
	return s.RoundTripper.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { acking, _ = AckingConn(info.Conn) },
		PutIdleConn: func(error) {
			if acking != nil {
				acking.Settler()(nil)
			}
		},
	})))
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
		_, _ = w.Write(body)
	})
}

// byByte reads a request's body byte by byte.
func byByte(_ http.ResponseWriter, r *http.Request) {
	for {
		if _, err := r.Body.Read(make([]byte, 1)); err != nil {
			return
		}
	}
}

// slow is a handler's time that is longer than the shortest timer of Linux and
// shorter than its own.
const slow = 15 * time.Millisecond

// Clients and backends whose messages come in one piece cost next to nothing.
func TestWholeMessagesCostNothing(t *testing.T) {
	const body = 100
	cases := []struct {
		protocol       protocol
		conns, streams int
		takes          time.Duration
		requests       int
		most           int // acknowledgements
	}{
		{plain, 1, 1, 0, 3000, 0},
		{overTLS, 1, 1, 0, 3000, 60},
		{overTLS, 1, 1, time.Millisecond, 3000, 60},
		{overTLS, 1, 1, slow, 300, 60},
		{h2, 1, 1, 0, 3000, 60},
		{h2, 1, 1, slow, 300, 60},
		{h2, 4, 4, 0, 3000, 60},
		{h2, 4, 4, slow, 3000, 60},
		{h2c, 1, 1, 0, 3000, 60},
		{h2c, 4, 4, 0, 3000, 60},
	}
	for _, tc := range cases {
		t.Run(fmt.Sprintf("%s/%d by %d streams/%s", tc.protocol, tc.conns, tc.streams, tc.takes), func(t *testing.T) {
			each := count(tc.requests) / (tc.conns * tc.streams)
			total := each * tc.conns * tc.streams
			run := func(mode AckMode) (accepted, dialed *acks, segments float64) {
				s := site{protocol: tc.protocol, mode: mode}
				s.start(t, echo(tc.takes))
				dialed = new(acks)
				var wg sync.WaitGroup
				for range tc.conns {
					client := s.client(t, mode, dialed)
					ask(t, client, s.URL, body)
					for range tc.streams {
						wg.Go(func() {
							for range each {
								ask(t, client, s.URL, body)
							}
						})
					}
				}
				wg.Wait()
				return &s.observer, dialed, float64(s.segments(t)) / float64(total)
			}
			eventually(t, func() bool { // a busy machine looks like a stall, and costs a trial
				accepted, dialed, segments := run(AckAuto)
				t.Logf("%d requests; accepted: %s; dialed: %s; %.3f segments out for each response", total, accepted, dialed, segments)
				if int(accepted.acknowledged.Load()) > tc.most || int(dialed.acknowledged.Load()) > tc.most {
					return false
				}
				if !lab.IsLong() || tc.streams > 1 { // several share segments as it comes
					return true
				}
				_, _, stock := run("")
				t.Logf("%.3f segments without", stock)
				return segments <= stock+0.05+10/float64(total)
			})
		})
	}
}

func (a *acks) String() string {
	return fmt.Sprintf("%d acknowledgements, %d wasted, %d times patient, %d stalls",
		a.acknowledged.Load(), a.wasted.Load(), a.patient.Load(), a.stalled.Load())
}

// waits are how long requests took.
type waits []time.Duration

// measure calls ask for each request, and keeps how long it took.
func measure(t *testing.T, n int, ask func(i int)) waits {
	t.Helper()
	took := make(waits, n)
	for i := range took {
		begin := time.Now()
		ask(i)
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	return took
}

func (w waits) median() time.Duration { return w[len(w)/2] }

// over counts those over least.
func (w waits) over(least time.Duration) (n int) {
	for _, d := range w {
		if d > least {
			n++
		}
	}
	return n
}

// few reports whether few requests have waited for an acknowledgement. It measures
// the waits with -long only: on a busy machine requests wait for other things.
func (w waits) few(t *testing.T, a *acks, shortened bool) bool {
	t.Helper()
	const kernels, short = 30 * time.Millisecond, 5 * time.Millisecond
	t.Logf("median %v, most %v, %d over 5 ms, %d over 30 ms; %s", w.median(), w[len(w)-1], w.over(short), w.over(kernels), a)
	if w.median() >= 10*time.Millisecond || a.stalled.Load() > 8 || a.stalledLong.Load() > 3 {
		return false
	}
	if !lab.IsLong() {
		return true
	}
	return w.over(kernels) <= 3 && (w.over(short) <= 8 || !shortened || !shortens(t))
}

// eventually requires that one of a few runs succeeds.
func eventually(t *testing.T, run func() bool) {
	t.Helper()
	for range 5 {
		if run() {
			return
		}
	}
	t.Fatal("none of five runs succeeds")
}

// nagler is a client with Nagle's algorithm on that sends each piece of a request in
// a write, and so in a TLS record.
type nagler interface {
	// ask sends a request, in pieces or as a whole, and waits for its response.
	ask(inPieces bool) error
}

func (s *site) nagler(t testing.TB) nagler {
	t.Helper()
	raw, err := net.Dial("tcp", s.Server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { raw.Close() })
	require.NoError(t, raw.(*net.TCPConn).SetNoDelay(false))
	c := raw
	if s.protocol.secure() {
		config := s.trust()
		config.NextProtos = map[protocol][]string{h2: {"h2"}, overTLS: {"http/1.1"}}[s.protocol]
		c = tls.Client(raw, config)
	}
	if s.protocol == plain || s.protocol == overTLS {
		return &nagler1{c, bufio.NewReader(c)}
	}
	n := &nagler2{conn: c, stream: 1}
	n.framer = http2.NewFramer(&n.out, bufio.NewReader(c))
	n.encoder = hpack.NewEncoder(&n.header)
	_, err = io.WriteString(c, http2.ClientPreface)
	require.NoError(t, err)
	require.NoError(t, n.framer.WriteSettings())
	require.NoError(t, n.flush(false))
	return n
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

// A client with Nagle's algorithm on that sends requests in pieces waits a few times at most.
func TestNagleClientsDoNotWait(t *testing.T) {
	cases := []struct {
		name     string
		protocol protocol
		handler  http.Handler
		keep     bool
	}{
		{"", plain, echo(0), false},
		{", read byte by byte", plain, http.HandlerFunc(byByte), false},
		{"", overTLS, echo(0), false},
		{", 1 ms", overTLS, echo(time.Millisecond), false},
		{", 1 ms, the kernel's own timer", overTLS, echo(time.Millisecond), true},
		{"", h2, echo(0), false},
		{", the kernel's own timer", h2, echo(0), true},
		{"", h2c, echo(0), false},
	}
	for _, tc := range cases {
		for _, nth := range []int{1, 3, 20} {
			t.Run(fmt.Sprintf("%s%s/one in %d", tc.protocol, tc.name, nth), func(t *testing.T) {
				eventually(t, func() bool {
					s := site{protocol: tc.protocol, mode: AckAuto, keep: tc.keep}
					s.start(t, tc.handler)
					c := s.nagler(t)
					took := measure(t, count(600), func(i int) { require.NoError(t, c.ask(i%nth == nth-1)) })
					if tc.protocol == plain && (s.observer.stalled.Load() > 0 || s.observer.wasted.Load() > 0) {
						return false // a busy machine holds up a piece
					}
					return took.few(t, &s.observer, !tc.keep)
				})
			})
		}
	}
}

// TestSuspectedStalls: with AckOff the observer hears of a stall in nearly every request of a client that
// waits, with AckAuto of four at most in a connection, and of none where the client does not wait.
func TestSuspectedStalls(t *testing.T) {
	const conns, requests, learning = 3, 20, 4
	for _, tc := range []struct {
		mode     AckMode
		inPieces bool
		from, to int
	}{
		{AckOff, true, conns * requests * 3 / 4, conns * (requests + 1)}, // and one in the handshake
		{AckAuto, true, conns, conns * learning},
		{AckAuto, false, 0, 0},
	} {
		t.Run(fmt.Sprintf("%s, in pieces %t", tc.mode, tc.inPieces), func(t *testing.T) {
			eventually(t, func() bool { // a busy machine looks like a stall
				s := site{protocol: overTLS, mode: tc.mode}
				s.start(t, echo(time.Millisecond)) // over TLS the next read parks meanwhile
				for range conns {
					c := s.nagler(t)
					for range 20 { // past the segments that the kernel acknowledges at once
						require.NoError(t, c.ask(false))
					}
					for range requests {
						require.NoError(t, c.ask(tc.inPieces))
					}
				}
				t.Logf("%s", &s.observer)
				stalls := int(s.observer.stalled.Load())
				return stalls >= tc.from && stalls <= tc.to
			})
		})
	}
}

// A backend with Nagle's algorithm on that sends responses in pieces does not make clients wait.
func TestNagleBackendsDoNotKeepWaiting(t *testing.T) {
	for _, p := range []protocol{plain, overTLS, h2, h2c} {
		for _, nth := range []int{1, 3, 20} {
			t.Run(fmt.Sprintf("%s/one in %d", p, nth), func(t *testing.T) {
				eventually(t, func() bool {
					s := site{protocol: p, nagle: true}
					s.start(t, http.HandlerFunc(inPieces))
					observer := new(acks)
					client := s.client(t, AckAuto, observer)
					took := measure(t, count(600), func(i int) {
						body := io.Reader(http.NoBody)
						if i%nth == nth-1 { // it asks for pieces
							body = strings.NewReader("*")
						}
						response, err := client.Post(s.URL, "text/plain", body)
						require.NoError(t, err)
						defer response.Body.Close()
						got, err := io.ReadAll(response.Body)
						require.NoError(t, err)
						require.Equal(t, "***", string(got))
					})
					return took.few(t, observer, true)
				})
			})
		}
	}
}

// inPieces answers in three writes where the request has a body, and in one otherwise.
func inPieces(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "3")
	for range 3 {
		_, _ = io.WriteString(w, "*")
		if r.ContentLength == 1 {
			http.NewResponseController(w).Flush()
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
