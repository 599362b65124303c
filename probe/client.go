package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// client sends the requests of all experiments.
type client struct {
	Options
	address string
	tls     *tls.Config // nil for http
	pieces  [3][]byte   // of a request
	whole   []byte
	request *http.Request // for reading responses to it

	status           int
	location, server string
}

// mostBytes bounds a body, that of a request and that of a response.
const mostBytes = 64 << 20

var (
	errCloses = errors.New("the server closes the connection after each response")
	errHTTP   = errors.New("what answers does not speak HTTP/1.x")
)

func newClient(o Options, target *url.URL) *client {
	c := &client{Options: o, request: &http.Request{Method: o.Method}}
	port := target.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[target.Scheme]
	}
	c.address = net.JoinHostPort(target.Hostname(), port)
	if target.Scheme == "https" {
		c.tls = &tls.Config{
			ServerName:         target.Hostname(),
			InsecureSkipVerify: o.Insecure, //nolint:gosec // what the flag is for
			NextProtos:         []string{"http/1.1"},
		}
	}
	header := o.Header.Clone()
	if header == nil {
		header = make(http.Header)
	}
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", userAgent)
	}
	if o.BodySize > 0 {
		header.Set("Content-Length", fmt.Sprint(o.BodySize))
	}
	host := target.Host
	if named := header.Get("Host"); named != "" {
		host = named
		header.Del("Host")
	}
	var fields bytes.Buffer
	fmt.Fprintf(&fields, "Host: %s\r\n", host)
	_ = header.Write(&fields) // to a buffer
	c.pieces = [3][]byte{
		fmt.Appendf(nil, "%s %s HTTP/1.1\r\n", o.Method, target.RequestURI()),
		fields.Bytes(),
		append([]byte("\r\n"), bytes.Repeat([]byte("*"), o.BodySize)...),
	}
	c.whole = bytes.Join(c.pieces[:], nil)
	return c
}

// run makes an experiment.
func (c *client) run(ctx context.Context, e Experiment) Result {
	r := Result{Experiment: e}
	switch {
	case e.newConns:
		r.err = c.runNew(ctx, &r)
	case e.pipelined:
		r.err = c.runPipelined(ctx, &r)
	default:
		r.err = c.runKeepAlive(ctx, &r)
	}
	r.sum()
	return r
}

func (c *client) runNew(ctx context.Context, r *Result) error {
	begin := time.Now()
	for i := range c.Requests {
		if i >= fewest && time.Since(begin) > budget {
			break
		}
		asked := time.Now()
		conn, err := c.dial(ctx, r.Experiment)
		if err != nil {
			return err
		}
		_, err = conn.ask(r.Experiment)
		conn.close()
		if err != nil {
			return err
		}
		r.add(time.Since(asked))
	}
	return nil
}

func (c *client) runKeepAlive(ctx context.Context, r *Result) error {
	conn, err := c.dial(ctx, r.Experiment)
	if err != nil {
		return err
	}
	defer func() { conn.close() }()
	begin := time.Now()
	reopened := false
	for i := 0; i < warmUp+c.Requests; i++ {
		spent := time.Since(begin)
		if i < warmUp && i >= fewest && spent > budget/5 {
			i = warmUp // slow answers are fewer segments: enough have passed
		}
		if len(r.Seconds) >= fewest && spent > budget {
			break
		}
		asked := time.Now()
		closes, err := conn.ask(r.Experiment)
		took := time.Since(asked)
		if err != nil && conn.served > 0 && isClosed(err) && !reopened {
			// The server has had enough of this connection, as it may at any time.
			conn.close()
			if conn, err = c.dial(ctx, r.Experiment); err != nil {
				return err
			}
			reopened = true
			i--
			continue
		}
		if err != nil {
			return err
		}
		if i >= warmUp {
			r.add(took)
		}
		reopened = false
		if !closes {
			continue
		}
		if conn.served == 1 {
			return errCloses
		}
		conn.close()
		if conn, err = c.dial(ctx, r.Experiment); err != nil {
			return err
		}
	}
	return nil
}

// runPipelined sends all requests before it reads any response.
func (c *client) runPipelined(ctx context.Context, r *Result) error {
	conn, err := c.dial(ctx, r.Experiment)
	if err != nil {
		return err
	}
	defer conn.close()
	for range fewest {
		closes, err := conn.ask(r.Experiment)
		if err != nil {
			return err
		}
		if closes {
			return errCloses
		}
	}
	conn.within(c.Timeout)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = conn.Write(bytes.Repeat(c.whole, c.Requests)) // the responses tell
	}()
	defer func() {
		conn.close() // which ends the writer as well
		<-sent
	}()
	before := time.Now()
	for range c.Requests {
		closes, err := conn.receive()
		if err != nil {
			return fmt.Errorf("the server does not answer pipelined requests: %w", err)
		}
		now := time.Now()
		r.add(now.Sub(before))
		before = now
		if closes {
			return errCloses
		}
	}
	return nil
}

// conn is one of the client's connections.
type conn struct {
	net.Conn
	client *client
	reader *bufio.Reader
	served int
	stop   func() bool // ends watching the context
}

// dial opens a connection as an experiment wants it.
func (c *client) dial(ctx context.Context, e Experiment) (*conn, error) {
	dialer := net.Dialer{Timeout: c.Timeout}
	raw, err := dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, err
	}
	inner := raw
	if tcp, ok := raw.(*net.TCPConn); ok {
		err = tcp.SetNoDelay(!e.nagle)
		if err == nil && e.ackAtOnce {
			inner, err = acknowledging(tcp)
		}
	}
	if err == nil && c.tls != nil {
		secure := tls.Client(inner, c.tls)
		handshake, cancel := context.WithTimeout(ctx, c.Timeout)
		err = secure.HandshakeContext(handshake)
		cancel()
		inner = secure
	}
	if err != nil {
		_ = raw.Close()
		return nil, explain(err)
	}
	opened := &conn{Conn: inner, client: c, reader: bufio.NewReader(inner)}
	opened.stop = context.AfterFunc(ctx, func() { _ = raw.Close() })
	return opened, nil
}

// acknowledging returns conn with an acknowledgement after each read.
func acknowledging(conn *net.TCPConn) (net.Conn, error) {
	acking, err := socket.NewConn(conn, socket.AckOptions{Mode: socket.AckOn}, unobserved{})
	if err != nil {
		return nil, fmt.Errorf("needs TCP_QUICKACK, which is Linux's: %w", err)
	}
	return acking, nil
}

type unobserved struct{}

func (unobserved) Acknowledged()                         {}
func (unobserved) AcknowledgeFailed(*socket.Conn, error) {}
func (unobserved) Wasted(*socket.Conn)                   {}
func (unobserved) BecamePatient(*socket.Conn)            {}
func (unobserved) Stalled(*socket.Conn, time.Duration)   {}
func (unobserved) Closing(*socket.Conn)                  {}

func (c *conn) close() {
	c.stop()
	_ = c.Close()
}

func (c *conn) within(timeout time.Duration) { _ = c.SetDeadline(time.Now().Add(timeout)) }

// ask sends a request and reads its response. It reports whether the server closes
// the connection after it.
func (c *conn) ask(e Experiment) (closes bool, err error) {
	c.within(c.client.Timeout)
	pieces := [][]byte{c.client.whole}
	if e.pieces {
		pieces = c.client.pieces[:]
	}
	for _, piece := range pieces {
		if _, err := c.Write(piece); err != nil {
			// A server may answer before it has the whole request, and close.
			if closes, receiveErr := c.receive(); receiveErr == nil {
				return closes, nil
			}
			return false, err
		}
	}
	return c.receive()
}

func (c *conn) receive() (closes bool, err error) {
	begin, err := c.reader.Peek(len("HTTP/"))
	if err != nil && len(begin) == 0 {
		return false, explain(err)
	}
	if string(begin) != "HTTP/" {
		return false, fmt.Errorf("%w: it says %.40q", errHTTP, begin)
	}
	var resp *http.Response
	for {
		resp, err = http.ReadResponse(c.reader, c.client.request)
		if err != nil {
			return false, fmt.Errorf("%w: %w", errHTTP, explain(err))
		}
		if resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	defer resp.Body.Close()
	read, err := io.Copy(io.Discard, io.LimitReader(resp.Body, mostBytes))
	if err != nil {
		return false, fmt.Errorf("the response broke off after %d bytes: %w", read, explain(err))
	}
	if read == mostBytes {
		return false, fmt.Errorf("the response is longer than %d bytes; probe something shorter", mostBytes)
	}
	c.served++
	c.client.status, c.client.location, c.client.server = resp.StatusCode, resp.Header.Get("Location"), resp.Header.Get("Server")
	return resp.Close, nil
}

// isClosed reports whether the peer closed the connection before it answered.
func isClosed(err error) bool {
	var timeout net.Error
	return !errors.Is(err, errHTTP) && (!errors.As(err, &timeout) || !timeout.Timeout())
}

// explain adds what would help.
func explain(err error) error {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.As(err, &certificate):
		return fmt.Errorf("%w; --insecure takes any certificate", err)
	case errors.As(err, &record):
		return fmt.Errorf("%w; is it http instead of https?", err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the server closed the connection without an answer: %w", err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no answer within the timeout: %w", err)
	}
	return err
}
