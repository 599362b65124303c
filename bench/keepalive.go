//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// The protocols of the clients that behave.
const (
	overPlain = "HTTP/1.1"
	overTLS   = "HTTP/1.1 over TLS"
	overHTTP2 = "HTTP/2 over TLS"
)

var protocols = []struct {
	name string
	work
}{{overPlain, plain}, {overTLS, secure}, {overHTTP2, secure}}

const (
	allSystems      = ", all systems"
	counting        = ", counted"
	callsMeasure    = "system calls a request"
	setMeasure      = "setsockopt a request"
	sentMeasure     = "segments to the server a request"
	receivedMeasure = "segments from the server a request"
	namesMeasure    = "calls"
)

var (
	caddySystems = []string{stock, auto, stockAgain, on, off}
	otherSystems = []string{stock, auto, "nginx", "HAProxy", "Apache httpd", lighttpd, paste}
)

// measureKeepAlive has clients ask that send each request in one piece, over
// connections that stay.
func measureKeepAlive(ctx context.Context, b *bench) error {
	for _, p := range protocols {
		ask := func(kase string, window time.Duration) func(c contender) error {
			return func(c contender) error {
				l, err := b.ask(ctx, p.name, window, c)
				if err == nil {
					b.add(4, kase, c.system, rateMeasure, l.rate())
					b.add(4, kase, c.system, costMeasure, l.cost())
				}
				return err
			}
		}
		paired := b.lineup.pick(p.work, caddySystems...)
		var err error
		switch p.name {
		case overPlain: // the bar is here
			err = b.compare(ctx, 4, p.name, b.few(25*b.pairs, 1), paired, bursts{burstSize, starsPath, true, burstTurns})
		case overTLS:
			err = rounds(ctx, b.few(5*b.pairs, 1), paired, ask(p.name, glance))
		case overHTTP2: // h2load takes requests, and no window
			err = rounds(ctx, b.few(b.pairs, 1), paired, ask(p.name, 0))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		others := b.lineup.pick(p.work, otherSystems...)
		if err := rounds(ctx, b.few(4, 1), others, ask(p.name+allSystems, b.long())); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		counted := b.lineup.pick(p.work, append([]string{stock, auto, on, off}, otherSystems[2:]...)...)
		if err := rounds(ctx, b.few(3, 1), counted, func(c contender) error { return b.count(ctx, p.name, c) }); err != nil {
			return fmt.Errorf("%s: counting: %w", p.name, err)
		}
	}
	c, _ := b.lineup.find(plain, auto)
	return b.profile(ctx, "keep-alive", c, starsPath)
}

func (b *bench) ask(ctx context.Context, protocol string, window time.Duration, c contender) (load, error) {
	if protocol == overHTTP2 {
		return b.h2load(ctx, c, starsPath, atOnce)
	}
	return b.wrk(ctx, window, c, starsPath, atOnce)
}

// count counts what a request takes over connections that have long parked: what 120
// on each take, less what 20 do. So the connection's own start and end are left out.
// First the segments, then the system calls under strace, which slows the server.
func (b *bench) count(ctx context.Context, protocol string, c contender) error {
	const connections, warmUp = 5, 20
	requests := b.few(100, 20)
	all := float64(connections * requests)
	kase := protocol + counting
	// In turn, so that each connection has parked before its next request.
	ask := func(clients []*client, each int) error {
		for range each {
			for _, cl := range clients {
				if err := cl.get(ctx, c.url(starsPath), len(stars)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	open := func() []*client {
		clients := make([]*client, connections)
		for i := range clients {
			clients[i] = newClient(b.site, c, protocol == overHTTP2)
		}
		return clients
	}
	end := func(clients []*client) (err error) {
		for _, cl := range clients {
			err = errors.Join(err, cl.Close())
		}
		return err
	}

	clients := open()
	var before, after segments
	err := errors.Join(ask(clients, warmUp), before.count(clients), ask(clients, requests), after.count(clients), end(clients))
	if err != nil {
		return err
	}
	b.add(4, kase, c.system, sentMeasure, float64(after.sent-before.sent)/all)
	b.add(4, kase, c.system, receivedMeasure, float64(after.received-before.received)/all)

	trace := func(each int) (map[string]tally, error) {
		return b.trace(ctx, c.process, connections, func() error {
			clients := open()
			return errors.Join(ask(clients, each), end(clients))
		})
	}
	few, err := trace(warmUp)
	if err != nil {
		return err
	}
	many, err := trace(warmUp + requests)
	if err != nil {
		return err
	}
	calls := 0.0
	var names []string
	for _, name := range slices.Sorted(maps.Keys(many)) {
		share := (many[name].calls - few[name].calls) / all
		calls += share
		if share >= .05 {
			names = append(names, fmt.Sprintf("%s %.2f", name, share))
		}
	}
	b.add(4, kase, c.system, callsMeasure, calls)
	b.add(4, kase, c.system, setMeasure, (many["setsockopt"].calls-few["setsockopt"].calls)/all)
	b.Notes[namesMeasure+" "+kase+" "+c.system] = strings.Join(names, ", ")
	return nil
}

// segments are what the clients' connections have had.
type segments struct{ sent, received int }

func (s *segments) count(clients []*client) error {
	for _, cl := range clients {
		if cl.dialed != 1 {
			return errors.New("the server closed a connection")
		}
		info, err := socket.Info(cl.tcp)
		if err != nil {
			return err
		}
		s.sent += int(info.Segs_out)
		s.received += int(info.Segs_in)
	}
	return nil
}

// client asks over one connection, and sends each request in one piece.
type client struct {
	*http.Transport
	tcp    *net.TCPConn
	dialed int
	buffer []byte
}

func newClient(s *site, c contender, http2 bool) *client {
	cl := &client{buffer: make([]byte, 256<<10)}
	cl.Transport = &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var dialer net.Dialer
			conn, err := dialer.DialContext(ctx, network, c.addr)
			if err != nil {
				return nil, err
			}
			cl.tcp = conn.(*net.TCPConn)
			cl.dialed++
			return conn, nil
		},
		TLSClientConfig:    &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:  http2,
		MaxConnsPerHost:    1,
		DisableCompression: true,
	}
	return cl
}

// Close closes the connection. The transport's own CloseIdleConnections leaves open one
// whose last response it has not quite put away.
func (cl *client) Close() error {
	if cl.tcp == nil {
		return nil
	}
	return cl.tcp.Close()
}

// get fetches what is size bytes long.
func (cl *client) get(ctx context.Context, url string, size int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := cl.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	// The body's own WriteTo would take a smaller buffer.
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{resp.Body}, cl.buffer)
	if err == nil && (n != int64(size) || resp.StatusCode != http.StatusOK) {
		err = fmt.Errorf("%s, and %d of %d bytes", resp.Status, n, size)
	}
	return err
}

const (
	keepAliveBar = .99
	// aCount is what counts in a table of two digits.
	aCount = .01
)

func reportKeepAlive(r *record) section {
	var s section
	s.Text = fmt.Sprintf(`Over connections that stay clients ask for 10,000 %s, each request in one piece. Over HTTP/1.1 Caddys are compared in bursts of one
request on each of %d connections, of which each Caddy has %d in a round, in turn; otherwise wrk asks over %d connections, and h2load
for HTTP/2, with 4 requests at once over each. "%s" is a second port without the plugin: the noise of this machine. System calls are
those on sockets, under strace; segments are the kernel's count (TCP_INFO) without it; both of 500 requests over 5 connections that
have had 20 each, the median of three counts.
Caddy makes the payload, the other servers read it from a file, HAProxy has it in memory.`, "`*`", burstSize, burstTurns, atOnce, stockAgain)
	for _, p := range protocols {
		paired := newTable("Caddy", "req/s", "ratio to stock, quartiles of the pairs", "bar", "CPU µs a request", "ratio to stock, quartiles")
		paired.Title = fmt.Sprintf("%s, %d rounds:", p.name, len(r.of(4, p.name, stock, rateMeasure)))
		var bars []bar
		for _, system := range r.systems(4, p.name) {
			rate, cost := r.of(4, p.name, system, rateMeasure), r.of(4, p.name, system, costMeasure)
			ratio := r.beside(4, p.name, system, rateMeasure)
			judged := "–"
			if system == auto && p.name == overPlain {
				judged = s.typicallyAtLeast("4, `quickack auto`: requests a second over "+p.name+", of stock Caddy's", ratio, keepAliveBar)
			}
			paired.add(system, number(median(rate)), quartiles(ratio), judged, number(median(cost)), quartiles(r.beside(4, p.name, system, costMeasure)))
			if system != stock {
				bars = append(bars, bar{system, ratio})
			}
		}
		name := strings.ToLower(strings.NewReplacer("/", "-", " ", "-", ".", "").Replace(p.name))
		s.Pictures = append(s.Pictures, picture{name, spreadPicture("Requests a second over "+p.name+", divided by stock Caddy's of the same round", keepAliveBar, bars)})
		s.Tables = append(s.Tables, paired, allTable(r, 4, p.name+allSystems, "req/s"), countedTable(r, &s, p.name))
	}
	s.Profile = r.Notes["keep-alive"]
	return s
}

// allTable shows all systems side by side.
func allTable(r *record, row int, kase, unit string) table {
	t := newTable("system", unit, "CPU µs each")
	for _, system := range r.systems(row, kase) {
		t.add(system, number(median(r.of(row, kase, system, rateMeasure))), number(median(r.of(row, kase, system, costMeasure))))
	}
	t.Title = kase + ":"
	return t
}

// countedTable shows what a request takes, and holds quickack auto to the bar over
// plain HTTP.
func countedTable(r *record, s *section, protocol string) table {
	kase := protocol + counting
	t := newTable("system", "system calls", "setsockopt", "segments to the server", "segments from it", "bar", "the calls")
	t.Title = protocol + ", for each request:"
	of := func(system, measure string) float64 { return median(r.of(4, kase, system, measure)) }
	for _, system := range r.systems(4, kase) {
		judged := "–"
		if system == auto && protocol == overPlain {
			calls := of(system, callsMeasure) - of(stock, callsMeasure)
			segments := of(system, sentMeasure) + of(system, receivedMeasure) - of(stock, sentMeasure) - of(stock, receivedMeasure)
			judged = s.atMost("4, `quickack auto`: system calls more than stock Caddy's, a request", calls, aCount) + "; " +
				s.atMost("4, `quickack auto`: segments more than stock Caddy's, a request", segments, aCount)
		}
		t.add(system, twoDigits(of(system, callsMeasure)), twoDigits(of(system, setMeasure)), twoDigits(of(system, sentMeasure)),
			twoDigits(of(system, receivedMeasure)), judged, r.Notes[namesMeasure+" "+kase+" "+system])
	}
	return t
}
