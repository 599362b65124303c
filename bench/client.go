//go:build linux

package main

import (
	"context"
	"fmt"

	"github.com/caddy-sockopt/caddy-sockopt/probe"
)

// inPieces is the number of the probe's experiment that sends a request in three
// pieces with Nagle's algorithm on.
const inPieces = 4

const (
	secondsMeasure = "seconds"
	verdictMeasure = "verdict" // the probe's, in the notes
)

var clientSystems = []string{stock, auto, on, off, "nginx", "HAProxy", "Apache httpd", lighttpd, paste, pasteMend}

// measureClient sends the requests of a client that Caddy cannot change.
func measureClient(ctx context.Context, b *bench) error {
	return rounds(ctx, b.few(4, 1), b.lineup.pick(plain, clientSystems...), func(c contender) error {
		found, err := probe.Run(ctx, probe.Options{URL: c.url(starsPath), Requests: b.few(50, 5)})
		if err != nil {
			return err
		}
		for _, e := range found.Experiments {
			if e.Number == inPieces {
				b.add(2, "", c.system, secondsMeasure, e.Seconds...)
			}
		}
		b.Notes[verdictMeasure+" "+c.system] = string(found.Verdict)
		return nil
	})
}

// cureBar is how many times faster than stock Caddy a cure is.
const cureBar = 100

func reportClient(r *record) section {
	var s section
	t := newTable("system", "p50", "p99", "p50 of stock Caddy, divided", "bar", "the probe's verdict")
	slow := median(r.of(2, "", stock, secondsMeasure))
	var bars []bar
	for _, system := range r.systems(2, "") {
		seconds := r.of(2, "", system, secondsMeasure)
		times, judged := slow/median(seconds), "–"
		if system == auto {
			judged = s.atLeast("2, `quickack auto`: p50 of stock Caddy with a Nagle client, divided by its own", times, cureBar)
		}
		t.add(system, probe.Duration(median(seconds)), probe.Duration(quantile(seconds, .99)), number(times), judged, r.Notes[verdictMeasure+" "+system])
		bars = append(bars, bar{system, seconds})
	}
	s.Text = fmt.Sprintf(`A client with Nagle's algorithm on sends each request in three pieces over one connection, and waits for the response: the
experiment %d of `+"`caddy sockopt probe`"+`. The second piece leaves when the first is acknowledged, which the server's kernel delays.
%d requests to each system, after 20 that are not timed.`, inPieces, len(r.of(2, "", stock, secondsMeasure)))
	s.Tables = []table{t}
	s.Pictures = []picture{{"nagle-client", barsPicture("Time of a request that a Nagle client sends in pieces", "s", bars)}}
	return s
}
