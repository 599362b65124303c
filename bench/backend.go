//go:build linux

package main

import (
	"context"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

const (
	stockTransport   = "transport http, stock Caddy"
	sockoptTransport = "transport sockopt"

	// backendsInTurn has both backends behind one Caddy, request by request.
	backendsInTurn = sockoptTransport + ", backends in turn"
)

// backendSites are Caddys in front of both Pastes, where these run.
func (l *lineup) backendSites() (sites []site) {
	for w, backend := range map[work]string{behindNagle: paste, behindNoDelay: pasteNoDelay} {
		for _, c := range l.pick(plain, backend) {
			sites = append(sites,
				site{work: w, system: stockTransport, Directives: "reverse_proxy " + c.addr()},
				site{work: w, system: sockoptTransport, Directives: "reverse_proxy " + c.addr() + " {\ntransport sockopt\n}"},
			)
		}
	}
	return sites
}

var backendSystems = []string{stockTransport, sockoptTransport, "nginx", "HAProxy", "Apache httpd", "lighttpd"}

// measureBackend asks one request after another through each proxy.
func measureBackend(ctx context.Context, b *bench) error {
	one := bursts{protocol: http1, connections: 1, inARow: b.few(25, 20)}
	for w, kase := range map[work]string{behindNagle: paste, behindNoDelay: pasteNoDelay} {
		err := b.compare(ctx, 3, kase, b.few(b.pairs, 1), 1, b.pick(w, backendSystems...), one)
		if err != nil {
			return err
		}
	}
	one.inARow = 0 // with the cure there is nothing to delay
	before, beforeNoDelay := b.find(behindNagle, sockoptTransport), b.find(behindNoDelay, sockoptTransport)
	before.system, beforeNoDelay.system = paste, pasteNoDelay
	return b.compare(ctx, 3, backendsInTurn, b.few(25*b.pairs, 1), b.few(100, 20), []contender{before, beforeNoDelay}, one)
}

// backendBar is the least share of the rate with TCP_NODELAY on the backend that the cure
// has.
const backendBar = .95

func reportBackend(r *record) section {
	var s section
	t := newTable("proxy", "before Paste, req/s", "before Paste with TCP_NODELAY, req/s", "share, quartiles of the pairs", "bar", "times stock Caddy", "bar")
	slow := lab.Median(r.Of(3, paste, stockTransport, rateMeasure))
	var bars []bar
	for _, system := range r.systems(3, paste, rateMeasure) {
		with, without := r.Of(3, paste, system, rateMeasure), r.Of(3, pasteNoDelay, system, rateMeasure)
		share, times := ratios(with, without), lab.Median(with)/slow
		shareBar, timesBar := "–", "–"
		if system == sockoptTransport {
			share = ratios(r.Of(3, backendsInTurn, paste, rateMeasure), r.Of(3, backendsInTurn, pasteNoDelay, rateMeasure))
			shareBar = s.typicallyAtLeast("3, `transport sockopt`: requests a second, of those of the TCP_NODELAY backend", share, backendBar)
			timesBar = s.atLeast("3, `transport sockopt`: requests a second before a Nagle backend, times stock Caddy's", times, cureBar)
		}
		t.Row(system, number(lab.Median(with)), number(lab.Median(without)), quartiles(share), shareBar, number(times), timesBar)
		bars = append(bars, bar{system, lab.Median(with)})
	}
	s.Tables = []table{t}
	s.Picture = &picture{"nagle-backend", "Requests a second through a proxy before a Nagle backend", bars}
	return s
}
