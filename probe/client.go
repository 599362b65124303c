package probe

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// client sends the requests of all experiments.
type client struct {
	Options
	address  string
	host     string // of the Host field or :authority
	fields   http.Header
	tls      *tls.Config   // nil for http
	deadline time.Time     // of the run
	until    time.Time     // when the experiment should end
	pause    time.Duration // before a request, in an experiment with pauses
	block    []byte        // what bodies consist of; all requests share it

	opened   []float64 // how long each connection took to open, in seconds: a round trip
	starting int       // round trips from there to the first request
	finished time.Time // when the last connection's Finished was sent
	answered time.Time // when the last response began

	protocol         string // HTTP/1.1 or HTTP/2, once a connection has been opened
	status           int    // of the last response, like the others
	location, server string
}

const (
	// mostBody bounds the body of a request and that of a response.
	mostBody = 64 << 20

	// mostHeader bounds the header of a response, like http.Transport.
	mostHeader = 1 << 20

	blockSize = 16 << 10 // also the largest frame of HTTP/2 that every server accepts
)

var (
	errCloses  = errors.New("the server closes the connection after each response")
	errHTTP    = errors.New("the server does not speak HTTP")
	errTooLong = errors.New("the response is too long")

	errLongHeader = fmt.Errorf("%w: its header has more than %d bytes", errTooLong, mostHeader)
	errLongBody   = fmt.Errorf("%w: its body has more than %d bytes; probe something shorter", errTooLong, mostBody)
)

func newClient(o Options, deadline time.Time) *client {
	target := o.target
	c := &client{Options: o, host: target.Host, fields: http.Header{"User-Agent": {userAgent}}, deadline: deadline}
	maps.Copy(c.fields, o.Header)
	c.address = net.JoinHostPort(target.Hostname(), cmp.Or(target.Port(), target.Scheme)) // a service's name is a port, too
	if target.Scheme == "https" {
		c.tls = &tls.Config{
			ServerName:         target.Hostname(),
			InsecureSkipVerify: o.Insecure, //nolint:gosec // what the flag is for
			NextProtos:         []string{"h2", "http/1.1"},
			ClientSessionCache: forgetful{},
		}
		switch {
		case o.HTTP1:
			c.tls.NextProtos = []string{"http/1.1"}
		case o.HTTP2:
			c.tls.NextProtos = []string{"h2"}
		}
	}
	if user := target.User; user != nil && c.fields.Get("Authorization") == "" {
		password, _ := user.Password()
		(&http.Request{Header: c.fields}).SetBasicAuth(user.Username(), password)
	}
	if host := c.fields.Get("Host"); host != "" {
		c.host = host
		c.fields.Del("Host")
	}
	if o.BodySize > 0 {
		c.fields.Set("Content-Length", fmt.Sprint(o.BodySize))
		c.block = bytes.Repeat([]byte("*"), min(o.BodySize, blockSize))
	}
	return c
}

// forgetful has the client ask for session tickets, as most clients do, and never use
// one. Some servers send them in answer to Finished, and acknowledge it so.
type forgetful struct{}

func (forgetful) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (forgetful) Put(string, *tls.ClientSessionState)        {}

// measure makes an experiment. It sends a request when the one before has been answered.
func (c *client) measure(ctx context.Context, r *Result) error {
	var conn conversation // nil where the next request opens one
	end := func() {
		if conn != nil {
			conn.Close()
			conn = nil
		}
	}
	defer end()
	warming := c.until.Add(-time.Until(c.until) * 4 / 5)
	served, slow := 0, 0
	for i := 0; i < r.warmUp+c.count(r.Experiment); i++ {
		if i > 0 && i < r.warmUp && time.Now().After(warming) {
			i = r.warmUp // slow responses are fewer, so leave time for those that count
		}
		if len(r.Seconds) > 0 && time.Now().After(c.until) {
			break
		}
		asked := time.Now()
		if conn == nil {
			var err error
			if conn, err = c.dial(ctx, r.Experiment); err != nil {
				return err
			}
			served = 0
		}
		if r.pipelined && i >= r.warmUp {
			return c.pipeline(conn, r)
		}
		if r.paused && i >= r.warmUp {
			time.Sleep(c.pause)
		}
		if !r.newConns {
			asked = time.Now()
		}
		closes, err := conn.ask(1, r.pieces, func() {})
		took, first := time.Since(asked), c.answered.Sub(asked)
		if r.fresh {
			first = c.answered.Sub(c.finished)
			took = first
		}
		if err != nil && served > 0 && isClosed(err) && ctx.Err() == nil {
			end() // a server may close a connection between two requests at any time
			i--
			continue
		}
		if err != nil {
			return explain(err)
		}
		switch {
		case i >= r.warmUp:
			r.add(took, first)
		case took.Seconds()-float64(r.trips)*c.path() < timerLeast:
			slow = 0
		default:
			if slow++; slow == warmWaits {
				i = r.warmUp - 1 // no acknowledgement comes at once any more
			}
		}
		served++
		if closes && served == 1 && !r.newConns {
			return errCloses
		}
		if closes || r.newConns {
			end()
		}
	}
	if r.newConns && !r.fresh {
		r.trips += c.starting
	}
	return nil
}

// pipeline sends all requests before it reads any response.
func (c *client) pipeline(conn conversation, r *Result) error {
	before := time.Now()
	_, err := conn.ask(c.Requests, false, func() {
		took := time.Since(before)
		r.add(took, took)
		before = before.Add(took)
	})
	if err != nil && !errors.Is(err, errCloses) {
		return fmt.Errorf("the server does not answer pipelined requests: %w", explain(err))
	}
	return err
}

// conversation is a connection of either version of HTTP.
type conversation interface {
	// ask sends so many requests, each in one write or in pieces, before it reads any response, and calls answered
	// after each response. It reports whether the server closes the connection after them.
	ask(requests int, pieces bool, answered func()) (closes bool, err error)

	Close() error
}

// wire is a connection, with TLS or without.
type wire struct {
	net.Conn
	client *client
	failed error // of the last read
}

func (w *wire) Read(p []byte) (n int, err error) {
	n, err = w.Conn.Read(p)
	w.failed = err
	return n, err
}

// limit sets the deadline of what comes next.
func (w *wire) limit() {
	deadline := time.Now().Add(w.client.Timeout)
	if deadline.After(w.client.deadline) {
		deadline = w.client.deadline
	}
	_ = w.SetDeadline(deadline)
}

// dial opens a connection with the socket options of an experiment.
func (c *client) dial(ctx context.Context, e Experiment) (conversation, error) {
	dialer, asked := net.Dialer{Timeout: c.Timeout}, time.Now()
	raw, err := dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, explain(err)
	}
	c.opened = append(c.opened, time.Since(asked).Seconds())
	c.address = raw.RemoteAddr().String()              // all experiments are with one machine
	context.AfterFunc(ctx, func() { _ = raw.Close() }) // it ends with the run
	w := &wire{Conn: raw, client: c}
	conn, err := c.begin(w, raw.(*net.TCPConn), e) //nolint:forcetypeassert // as it was dialed
	if err != nil {
		w.Close()
		return nil, explain(err)
	}
	return conn, nil
}

// begin makes a connection ready for its first request.
func (c *client) begin(w *wire, tcp *net.TCPConn, e Experiment) (conversation, error) {
	if err := tcp.SetNoDelay(!e.nagle); err != nil {
		return nil, err
	}
	inner := &rawConn{TCPConn: tcp, acks: e.ackAtOnce && socket.QuickAck.Supported()}
	if e.ackAtOnce && !inner.acks && !e.paused {
		return nil, fmt.Errorf("needs TCP_QUICKACK, which only Linux has: %w", errors.ErrUnsupported)
	}
	w.Conn = inner
	w.limit()
	version2 := c.HTTP2
	c.starting = 0
	if c.tls != nil {
		secure := tls.Client(inner, c.tls)
		if err := secure.Handshake(); err != nil {
			return nil, err
		}
		state := secure.ConnectionState()
		version2 = state.NegotiatedProtocol == "h2"
		w.Conn, c.finished = secure, inner.wrote // Finished is the client's last message
		if c.starting = 1; state.Version < tls.VersionTLS13 {
			c.starting = 2
		}
		if c.HTTP2 && !version2 {
			return nil, fmt.Errorf("%w/2 on this port: it ignores ALPN", errHTTP)
		}
	}
	if !version2 {
		c.protocol = "HTTP/1.1"
		return newHTTP1(w), nil
	}
	c.protocol = "HTTP/2"
	c.starting++ // the server's settings
	return newHTTP2(w, e.fresh)
}

// path is how long a round trip takes, in seconds. A busy machine and lost packets make some connections open late.
func (c *client) path() float64 { return quantile(c.opened, .25) }

// rawConn is a connection below TLS.
type rawConn struct {
	*net.TCPConn
	acks  bool      // after each read
	wrote time.Time // when something was last written
}

func (r *rawConn) Read(p []byte) (int, error) {
	n, err := r.TCPConn.Read(p)
	if r.acks {
		_, _ = socket.Set(r.TCPConn, []socket.Setting{{Option: socket.QuickAck, Value: socket.Value{Number: 1}}})
	}
	return n, err
}

func (r *rawConn) Write(p []byte) (int, error) {
	r.wrote = time.Now()
	return r.TCPConn.Write(p)
}

// hint returns a better error than err where a port with TLS is probed over http.
func (c *client) hint(ctx context.Context, err error) error {
	if c.target.Scheme != "http" || err != nil && !isClosed(err) && !errors.Is(err, errHTTP) {
		return err
	}
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: c.Timeout},
		Config:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // only to see whether there is TLS
	}
	conn, tlsErr := dialer.DialContext(ctx, "tcp", c.address)
	if tlsErr != nil {
		return err
	}
	_ = conn.Close()
	secure := *c.target
	secure.Scheme = "https"
	return fmt.Errorf("this port speaks TLS; probe %s instead", shown(&secure))
}

// isClosed reports whether the peer closed the connection before it answered.
func isClosed(err error) bool {
	return !errors.Is(err, errHTTP) && !errors.Is(err, errTooLong) && !isTimeout(err)
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// explain adds what would help.
func explain(err error) error {
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case unverified:
		return fmt.Errorf("%w; --insecure accepts any certificate", err)
	case noTLS:
		return fmt.Errorf("%w; is it http instead of https?", err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the server closed the connection without an answer: %w", err)
	case isTimeout(err):
		return fmt.Errorf("no answer within the timeout: %w", err)
	}
	return err
}
