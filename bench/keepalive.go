//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// handler is what Caddy does with a request.
type handler struct {
	name    string
	takes   time.Duration // of the backend
	version string        // of HTTP, which it speaks to the backend; none is no backend
	// paced has the handler set the pace, so that only counts tell.
	paced bool
}

var handlers = []handler{
	{name: "echo_payload"},
	{name: "reverse_proxy", version: "1.1"},
	{name: "reverse_proxy to h2c", version: "h2c"},
	{name: "reverse_proxy, backend takes 15 ms", version: "1.1", takes: 15 * time.Millisecond, paced: true},
}

var (
	keepAliveProtocols = []protocol{http1, http1TLS, http2TLS, http2Four}
	pairedSystems      = []string{stock, auto, stockAgain}
	countedSystems     = []string{stock, auto, on}
)

// at returns the work of a port that has this handler. Rows 1 and 2 use the first.
func (h handler) at(w work) work {
	if h.version == "" {
		return w
	}
	return w + ", " + work(h.name)
}

func keepAliveCase(p protocol, h handler) string { return p.name + ", " + h.name }

// keepAliveSites have all of the wrappers. Behind a wrapper the transport is the
// plugin's, too, so that both ends of Caddy are counted.
func keepAliveSites() (sites []site, err error) {
	for _, h := range handlers {
		backend := ""
		if h.version != "" {
			if backend, err = startBackend(h.takes); err != nil {
				return nil, err
			}
		}
		for _, system := range []string{stock, auto, stockAgain, on, off, nagle} {
			s := site{system: system, Wrapper: wrappers[system], Directives: "echo_payload"}
			if backend != "" {
				transport := "http"
				if s.Wrapper != "" {
					transport = "sockopt"
				}
				s.Directives = fmt.Sprintf("reverse_proxy %s {\ntransport %s {\nversions %s\n}\n}", backend, transport, h.version)
			}
			for _, s.work = range []work{h.at(plain), h.at(secure)} {
				s.Secure = s.work == h.at(secure)
				sites = append(sites, s)
			}
		}
	}
	return sites, nil
}

// measureKeepAlive has clients ask that send each request in one piece, over connections
// that stay.
func measureKeepAlive(ctx context.Context, b *bench) error {
	for _, h := range handlers {
		for _, p := range keepAliveProtocols {
			kase := keepAliveCase(p, h)
			if !h.paced && p.streams < 2 {
				err := b.compare(ctx, 4, kase, b.few(25*b.pairs, 1), burstTurns, b.pick(h.at(p.work), pairedSystems...),
					bursts{protocol: p, connections: burstSize})
				if err != nil {
					return fmt.Errorf("%s: %w", kase, err)
				}
			}
			err := rounds(ctx, 1, b.pick(h.at(p.work), countedSystems...), func(c contender) error {
				return b.count(kase, bursts{protocol: p, connections: 5}, c)
			})
			if err != nil {
				return fmt.Errorf("%s: counting: %w", kase, err)
			}
		}
	}
	return nil
}

const (
	setMeasure      = "setsockopt a request"
	sentMeasure     = "segments to the server a request"
	receivedMeasure = "segments from the server a request"
)

// count counts what requests take over some connections from their start, since a
// connection that learns pays first. First the segments, then the system calls under
// strace, which slows the server.
func (b *bench) count(kase string, g bursts, c contender) error {
	times := b.few(600, 20)
	requests := float64(times * g.connections * max(1, g.streams))
	ask := func(cl *client) error {
		for range times {
			if err := cl.burst(); err != nil {
				return err
			}
		}
		return nil
	}

	cl := b.newClient(c, g)
	defer cl.close()
	if err := ask(cl); err != nil {
		return err
	}
	sent, received, err := cl.segments()
	if err != nil {
		return err
	}
	b.add(4, kase, c.system, sentMeasure, sent/requests)
	b.add(4, kase, c.system, receivedMeasure, received/requests)

	strace, err := lab.Attach(filepath.Join(b.dir, "strace"), "setsockopt,close", c.pid)
	if err != nil {
		return err
	}
	traced := b.newClient(c, g)
	err = ask(traced)
	traced.close()
	if err == nil {
		// Caddy closes a connection after its last call of setsockopt on it.
		err = lab.Eventually("Caddy closed its connections", func() (bool, error) {
			trace, err := strace.Trace()
			return int(trace.OnSockets()["close"].Count) >= g.connections, err
		})
	}
	trace, detachErr := strace.Detach()
	b.add(4, kase, c.system, setMeasure, trace.OnSockets()["setsockopt"].Count/requests)
	return errors.Join(err, detachErr)
}

const (
	keepAliveBar = .99
	setBar       = .02
	segmentsBar  = .05
)

func reportKeepAlive(r *record) section {
	var s section
	s.Text = fmt.Sprintf(`Over connections that stay clients ask for 10,000 %[1]s*%[1]s, each request in one piece. For the rates they ask in bursts of one request on
each of %[2]d connections, of which each Caddy has %[3]d in a round, in turn. "%[4]s" is a second port without the plugin: the noise of this
machine. The counts are of at least 3,000 requests over 5 connections, from the start of each connection: calls of setsockopt by strace,
those to backends included, and without strace the kernel's count of segments (TCP_INFO) between client and Caddy. Behind a
wrapper the backend is reached with %[1]stransport sockopt%[1]s.`, "`", burstSize, burstTurns, stockAgain)
	rates := newTable("protocol and handler", "Caddy", "req/s", "ratio to stock, quartiles of the pairs", "bar", "CPU µs a request", "ratio to stock, quartiles")
	counts := newTable("protocol and handler", "Caddy", "setsockopt", "segments to Caddy", "segments from it", "bar: setsockopt more", "bar: segments more")
	for _, kase := range r.cases(4) {
		of := func(system, measure string) float64 { return lab.Quantile(r.of(4, kase, system, measure), .5) }
		for _, system := range r.systems(4, kase) {
			if len(r.of(4, kase, system, rateMeasure)) > 0 {
				ratio, judged := r.beside(4, kase, system, rateMeasure), "–"
				if system == auto {
					judged = s.typicallyAtLeast("4, "+kase+", `quickack auto`: requests a second, of stock Caddy's", ratio, keepAliveBar)
				}
				rates.add(kase, system, number(of(system, rateMeasure)), quartiles(ratio), judged,
					number(of(system, costMeasure)), quartiles(r.beside(4, kase, system, costMeasure)))
			}
			if len(r.of(4, kase, system, setMeasure)) > 0 {
				calls, segments := "–", "–"
				if system == auto {
					calls = s.atMost("4, "+kase+", `quickack auto`: setsockopt more than stock Caddy, a request", of(system, setMeasure)-of(stock, setMeasure), setBar)
					segments = s.atMost("4, "+kase+", `quickack auto`: segments more than stock Caddy's, a request",
						of(system, sentMeasure)+of(system, receivedMeasure)-of(stock, sentMeasure)-of(stock, receivedMeasure), segmentsBar)
				}
				counts.add(kase, system, threeDigits(of(system, setMeasure)), threeDigits(of(system, sentMeasure)), threeDigits(of(system, receivedMeasure)), calls, segments)
			}
		}
	}
	rates.Title, counts.Title = "Rates:", "Counts, for each request:"
	s.Tables = []table{rates, counts}
	return s
}
