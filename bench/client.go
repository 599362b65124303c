//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

const secondsMeasure = "seconds"

// clientSystems are those of HTTP/1.1. The peers have no handler for the POST requests
// that are sent over HTTP/2.
var clientSystems = map[protocol][]string{
	http1:    {stock, auto, on, off, "nginx", "HAProxy", "Apache httpd", "lighttpd", paste, pasteNoDelay},
	http1TLS: {stock, auto, on, off, "nginx", "HAProxy", "Apache httpd", "lighttpd"},
	http2TLS: {stock, auto, on, off},
}

// measureClient sends the requests of a client that Caddy cannot change. All of them or
// one in some is in pieces, and only these are timed.
func measureClient(ctx context.Context, b *bench) error {
	for i := range 9 {
		p, every := []protocol{http1, http1TLS, http2TLS}[i%3], []int{1, 3, 20}[i/3]
		kase, systems := p.name, clientSystems[p]
		if every > 1 {
			kase, systems = fmt.Sprintf("%s, one request in %d in pieces", kase, every), []string{stock, auto}
		}
		err := rounds(ctx, 1, b.pick(p.work, systems...), func(c contender) error {
			cl := b.newClient(c, bursts{protocol: p, connections: 1, nagle: true})
			defer cl.close()
			untimed := b.few(warmUp, 10)
			for i := range untimed + every*b.few(200, 5) {
				begin := time.Now()
				cl.inPieces = i%every == 0
				if err := cl.burst(); err != nil {
					return err
				}
				if cl.inPieces && i >= untimed {
					b.add(2, kase, c.system, secondsMeasure, time.Since(begin).Seconds())
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", kase, err)
		}
	}
	return nil
}

// cureBar is how many times faster than stock Caddy a cure is.
const cureBar = 100

func reportClient(r *record) section {
	var s section
	for _, kase := range r.cases(2) {
		t := newTable("system", "p50, ms", "p99, ms", "p50 of stock Caddy, divided", "bar")
		t.Title = fmt.Sprintf("%s, %d requests in pieces to each system:", kase, len(r.Of(2, kase, stock, secondsMeasure)))
		slow := lab.Median(r.Of(2, kase, stock, secondsMeasure))
		var bars []bar
		for _, system := range r.systems(2, kase, secondsMeasure) {
			seconds := r.Of(2, kase, system, secondsMeasure)
			middle := lab.Median(seconds)
			judged := "–"
			if system == auto {
				judged = s.atLeast("2, "+kase+", `quickack auto`: p50 of stock Caddy with a Nagle client, divided by its own", slow/middle, cureBar)
			}
			t.Row(system, number(1e3*middle), number(1e3*lab.Quantile(seconds, .99)), number(slow/middle), judged)
			bars = append(bars, bar{system, 1e3 * middle})
		}
		s.Tables = append(s.Tables, t)
		if kase == http1.name {
			s.Picture = &picture{"nagle-client", "Milliseconds of a request that a Nagle client sends in pieces", bars}
		}
	}
	return s
}
