//go:build linux

package main

import (
	"context"
	"fmt"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

const (
	stockTransport   = "transport http, stock Caddy"
	sockoptTransport = "transport sockopt"

	// backendsInTurn has both backends behind one Caddy, request by request.
	backendsInTurn = sockoptTransport + ", backends in turn"
)

// backendSites are Caddys in front of both Pastes.
func (l *lineup) backendSites() (sites []site) {
	for w, backend := range map[work]contender{behindNagle: l.find(plain, paste), behindNoDelay: l.find(plain, pasteNoDelay)} {
		proxy := "reverse_proxy " + backend.addr
		sites = append(sites,
			site{work: w, system: stockTransport, Directives: proxy},
			site{work: w, system: sockoptTransport, Directives: proxy + " {\ntransport sockopt\n}"},
		)
	}
	return sites
}

var backendSystems = []string{stockTransport, sockoptTransport, "nginx", "HAProxy", "Apache httpd", "lighttpd"}

// measureBackend asks one request after another through each proxy.
func measureBackend(ctx context.Context, b *bench) error {
	one := bursts{protocol: http1, connections: 1}
	for w, kase := range map[work]string{behindNagle: paste, behindNoDelay: pasteNoDelay} {
		err := b.compare(ctx, 3, kase, b.few(b.pairs, 1), b.few(25, 5), b.pick(w, backendSystems...), one)
		if err != nil {
			return err
		}
	}
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
	slow := lab.Median(r.of(3, paste, stockTransport, rateMeasure))
	var bars []bar
	for _, system := range r.systems(3, paste) {
		with, without := r.of(3, paste, system, rateMeasure), r.of(3, pasteNoDelay, system, rateMeasure)
		share, times := ratios(with, without), lab.Median(with)/slow
		shareBar, timesBar := "–", "–"
		if system == sockoptTransport {
			share = ratios(r.of(3, backendsInTurn, paste, rateMeasure), r.of(3, backendsInTurn, pasteNoDelay, rateMeasure))
			shareBar = s.typicallyAtLeast("3, `transport sockopt`: requests a second, of those of the TCP_NODELAY backend", share, backendBar)
			timesBar = s.atLeast("3, `transport sockopt`: requests a second before a Nagle backend, times stock Caddy's", times, cureBar)
		}
		t.add(system, number(lab.Median(with)), number(lab.Median(without)), quartiles(share), shareBar, number(times), timesBar)
		bars = append(bars, bar{system, lab.Median(with)})
	}
	s.Text = fmt.Sprintf(`One connection asks through each proxy, one request after another, for what Paste returns: 10,000 %s, header and body in
writes of their own, in %d rounds. The proxy's kernel delays the acknowledgement for which Paste's kernel waits. lighttpd opens a connection
to the backend for each request, so it does not stall, and does not keep connections alive either. The share of %s is that of
%d rounds in which the two backends take turns request by request: what a response costs is one setsockopt and one segment, for
which Paste waits instead of for the timer. Stock Caddy has 23 requests a second whatever the machine, so how many times as many the cure
has depends on what Paste, Caddy and the client can do on it.`, "`*`", len(r.of(3, paste, stockTransport, rateMeasure)),
		sockoptTransport, len(r.of(3, backendsInTurn, paste, rateMeasure)))
	s.Tables = []table{t}
	s.Picture = &picture{"nagle-backend", "Requests a second through a proxy before a Nagle backend", bars}
	return s
}
