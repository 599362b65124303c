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
	version string        // of HTTP, which it speaks to the backend; none is no backend
	takes   time.Duration // of the backend, which sets the pace then, so that only counts tell
}

var handlers = []handler{
	{name: "echo_payload"},
	{name: "reverse_proxy", version: "1.1"},
	{name: "reverse_proxy to h2c", version: "h2c"},
	{name: "reverse_proxy, backend takes 15 ms", version: "1.1", takes: 15 * time.Millisecond},
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

// keepAliveSites have all of the wrappers. Behind a wrapper the transport is the
// plugin's, too, so that both ends of Caddy are counted.
func keepAliveSites() (sites []site) {
	for _, h := range handlers {
		backend := ""
		if h.version != "" {
			backend = lab.ServeStars(h.takes).Listener.Addr().String()
		}
		for system, wrapper := range wrappers {
			directives, transport := "echo_payload", "http"
			if wrapper != "" {
				transport = "sockopt"
			}
			if backend != "" {
				directives = fmt.Sprintf("reverse_proxy %s {\ntransport %s {\nversions %s\n}\n}", backend, transport, h.version)
			}
			sites = append(sites,
				site{work: h.at(plain), system: system, Wrapper: wrapper, Directives: directives},
				site{work: h.at(secure), system: system, Wrapper: wrapper, Directives: directives, Secure: true})
		}
	}
	return sites
}

// measureKeepAlive has clients ask that send each request in one piece, over connections
// that stay.
func measureKeepAlive(ctx context.Context, b *bench) error {
	for _, h := range handlers {
		for _, p := range keepAliveProtocols {
			kase := p.name + ", " + h.name
			if h.takes == 0 && p.streams < 2 {
				err := b.compare(ctx, 4, kase, b.few(25*b.pairs, 1), b.few(burstTurns, 4), b.pick(h.at(p.work), pairedSystems...),
					bursts{protocol: p, connections: burstSize})
				if err != nil {
					return fmt.Errorf("%s: %w", kase, err)
				}
			}
			err := b.count(ctx, kase, bursts{protocol: p, connections: 5}, b.pick(h.at(p.work), countedSystems...))
			if err != nil {
				return fmt.Errorf("%s: counting: %w", kase, err)
			}
		}
	}
	return nil
}

const (
	setMeasure      = "setsockopt a request"
	segmentsMeasure = "segments a request, both ways"
)

// count counts what requests take over some connections from their start, since a
// connection that learns pays first: the system calls under strace, which slows the
// server, and the segments without it.
func (b *bench) count(ctx context.Context, kase string, g bursts, contenders []contender) error {
	times := b.few(600, 10)
	requests := float64(times * g.connections * max(1, g.streams))
	ask := func(c contender) (*client, error) {
		cl := b.newClient(c, g)
		for range times {
			if err := cl.burst(); err != nil {
				return cl, err
			}
		}
		return cl, nil
	}
	strace, err := lab.Attach(filepath.Join(b.dir, "strace"), "setsockopt,close", contenders[0].pid)
	if err != nil {
		return err
	}
	var before, after map[string]lab.Calls
	err = rounds(ctx, 1, contenders, func(c contender) error {
		cl, err := ask(c)
		cl.close()
		if err != nil {
			return err
		}
		// Caddy closes a connection after its last setsockopt on it.
		err = lab.Eventually("Caddy closed its connections", func() (bool, error) {
			trace, err := strace.Trace()
			after = trace.OnSockets()
			return int(after["close"].Count-before["close"].Count) >= g.connections, err
		})
		b.add(4, kase, c.system, setMeasure, (after["setsockopt"].Count-before["setsockopt"].Count)/requests)
		before = after
		return err
	})
	_, detachErr := strace.Detach()
	if err := errors.Join(err, detachErr); err != nil {
		return err
	}
	return rounds(ctx, 1, contenders, func(c contender) error {
		cl, err := ask(c)
		defer cl.close()
		if err != nil {
			return err
		}
		segments, err := cl.segments()
		b.add(4, kase, c.system, segmentsMeasure, segments/requests)
		return err
	})
}

const keepAliveBar, keepAliveCPUBar, setBar, segmentsBar = .99, 1.01, .02, .05

func reportKeepAlive(r *record) section {
	var s section
	s.compare(r, 4, keepAliveBar, keepAliveCPUBar)
	t := newTable("case", "Caddy", "setsockopt", "segments", "bar: setsockopt more", "bar: segments more")
	t.Title = "For each request:"
	for _, kase := range r.cases(4) {
		of := func(system, measure string) float64 { return lab.Median(r.Of(4, kase, system, measure)) }
		for _, system := range r.systems(4, kase, setMeasure) {
			calls, more := "–", "–"
			if system == auto {
				what := "4, " + kase + ", `" + system + "`: "
				calls = s.atMost(what+"setsockopt more than stock Caddy, a request", of(system, setMeasure)-of(stock, setMeasure), setBar)
				more = s.atMost(what+"segments more than stock Caddy, a request", of(system, segmentsMeasure)-of(stock, segmentsMeasure), segmentsBar)
			}
			t.Row(kase, system, threeDigits(of(system, setMeasure)), threeDigits(of(system, segmentsMeasure)), calls, more)
		}
	}
	s.Tables = append(s.Tables, t)
	return s
}
