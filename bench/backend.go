//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
)

const (
	stockTransport   = "transport http, stock Caddy"
	sockoptTransport = "transport sockopt"

	// backendsInTurn has both backends behind one Caddy, request by request.
	backendsInTurn = sockoptTransport + ", backends in turn"
)

// backendSeats are Caddys in front of backends.
var backendSeats = func() []seat {
	var seats []seat
	for _, w := range []work{behindNagle, behindNoDelay} {
		seats = append(seats,
			seat{w, stockTransport, caddySite{directives: "reverse_proxy {backend}"}},
			seat{w, sockoptTransport, caddySite{directives: "reverse_proxy {backend} {\ntransport sockopt\n}"}},
		)
	}
	return seats
}()

var backendSystems = []string{stockTransport, sockoptTransport, "nginx", "HAProxy", "Apache httpd", lighttpd}

// measureBackend asks one request after another through each proxy.
func measureBackend(ctx context.Context, b *bench) error {
	for _, system := range backendSystems {
		before := slices.Concat(b.lineup.pick(behindNagle, system), b.lineup.pick(behindNoDelay, system))
		// The kernel acknowledges a connection's first segments at once.
		for _, c := range before {
			if _, err := b.wrk(ctx, b.long(), c, starsPath, 1); err != nil {
				return err
			}
		}
	}
	for _, w := range []work{behindNagle, behindNoDelay} {
		if len(b.lineup.contenders[w]) == 0 {
			return nil // Paste is missing
		}
	}
	with, _ := b.lineup.find(behindNagle, sockoptTransport)
	without, _ := b.lineup.find(behindNoDelay, sockoptTransport)
	with.system, without.system = paste, pasteMend
	err := b.compare(ctx, 3, backendsInTurn, b.few(25*b.pairs, 1), []contender{with, without}, bursts{1, starsPath, true, 100})
	if err != nil {
		return err
	}
	return rounds(ctx, b.few(b.pairs, 1), b.lineup.pick(behindNagle, backendSystems...), func(c contender) error {
		other, _ := b.lineup.find(behindNoDelay, c.system)
		for backend, proxy := range map[string]contender{paste: c, pasteMend: other} {
			l, err := b.wrk(ctx, b.long(), proxy, starsPath, 1)
			if err != nil {
				return err
			}
			b.add(3, backend, c.system, rateMeasure, l.rate())
		}
		return nil
	})
}

// backendBar is what the cure comes to of TCP_NODELAY on the backend.
const backendBar = .95

func reportBackend(r *record) section {
	var s section
	t := newTable("proxy", "before Paste, req/s", "before Paste with TCP_NODELAY, req/s", "share, quartiles of the pairs", "bar", "times stock Caddy", "bar")
	slow := median(r.of(3, paste, stockTransport, rateMeasure))
	var bars []bar
	for _, system := range r.systems(3, paste) {
		with, without := r.of(3, paste, system, rateMeasure), r.of(3, pasteMend, system, rateMeasure)
		share, times := ratios(with, without), median(with)/slow
		share1, times1 := "–", "–"
		if system == sockoptTransport {
			share = ratios(r.of(3, backendsInTurn, paste, rateMeasure), r.of(3, backendsInTurn, pasteMend, rateMeasure))
			share1 = s.typicallyAtLeast("3, `transport sockopt`: requests a second, of those of the TCP_NODELAY backend", share, backendBar)
			times1 = s.atLeast("3, `transport sockopt`: requests a second before a Nagle backend, times stock Caddy's", times, cureBar)
		}
		t.add(system, number(median(with)), number(median(without)), quartiles(share), share1, number(times), times1)
		bars = append(bars, bar{system, with})
	}
	s.Text = fmt.Sprintf(`One connection of wrk asks through each proxy, one request after another, for what Paste returns: 10,000 %s, header and body in
writes of their own, in %d rounds. The proxy's kernel delays the acknowledgement for which Paste's kernel waits. lighttpd opens a connection to
the backend for each request, so it does not stall, and does not keep connections alive either. The share of %s is that of %d rounds
in which the two backends take turns request by request.`, "`*`", len(r.of(3, paste, stockTransport, rateMeasure)),
		sockoptTransport, len(r.of(3, backendsInTurn, paste, rateMeasure)))
	s.Tables = []table{t}
	s.Pictures = []picture{{"nagle-backend", barsPicture("Requests a second through a proxy before a Nagle backend", "req/s", bars)}}
	return s
}
