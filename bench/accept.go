//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/ten"
)

const (
	accepting       work = "new connections"
	acceptingSecure work = "new connections over TLS"

	noOption  = "sockopt, 0 options"
	oneOption = "sockopt, 1 option"
	usualTen  = "sockopt, 10 usual options"
	dearTen   = "sockopt, 10 dear options"
)

// acceptSeats have none, one and ten options.
var acceptSeats = func() []seat {
	var seats []seat
	for _, w := range []work{accepting, acceptingSecure} {
		for _, has := range []struct {
			system  string
			options []string
		}{
			{system: stock},
			{noOption, []string{}},
			{system: stockAgain},
			{oneOption, ten.Usual[:1]},
			{usualTen, ten.Usual},
			{dearTen, ten.Dear},
		} {
			wrapper := ""
			if has.options != nil {
				// Some kernels refuse fastopen on a listener that speaks MPTCP.
				wrapper = "sockopt {\non_unsupported warn\n" + strings.Join(has.options, "\n") + "\n}"
			}
			seats = append(seats, seat{w, has.system, caddySite{wrapper: wrapper, directives: "echo_payload 100", secure: w == acceptingSecure}})
		}
	}
	return seats
}()

const (
	smallBody    = "a connection for each request of 100 bytes"
	smallOneCore = smallBody + ", of a Caddy on a core of its own"
	smallNoMPTCP = smallBody + ", of a Caddy that listens without MPTCP"
	smallTLS     = smallBody + ", over TLS"
	starsBody    = "a connection for each request of 10,000 bytes"
	costMeasure  = "CPU microseconds"
	closeAfter   = "--header=Connection: close"
	atOnce       = 16 // connections of a load
	anyPath      = "/"
)

// measureAccept opens a connection for each request.
func measureAccept(ctx context.Context, b *bench) error {
	opening := bursts{connections: burstSize, path: anyPath, turns: burstTurns}
	if err := b.compare(ctx, 5, smallBody, b.few(25*b.pairs, 1), b.lineup.contenders[accepting], opening); err != nil {
		return err
	}
	_, last := cores()
	for _, other := range []struct {
		kase string
		wrap []string
	}{
		{smallOneCore, []string{"taskset", "--cpu-list", last}},
		{smallNoMPTCP, []string{"env", "GODEBUG=multipathtcp=0"}}, // which Go reads at the start
	} {
		l, err := b.start(ctx, plan{host: loopbackHost, wrap: other.wrap, servers: []server{caddyServer(acceptSeats)}})
		if err != nil {
			return err
		}
		err = b.compare(ctx, 5, other.kase, b.few(25*b.pairs, 1), l.pick(accepting, stock, noOption, stockAgain, usualTen, dearTen), opening)
		l.end()
		if err != nil {
			return err
		}
	}
	ask := func(kase, path string, window time.Duration) func(c contender) error {
		return func(c contender) error {
			l, err := b.wrk(ctx, window, c, path, atOnce, closeAfter)
			if err == nil {
				b.add(5, kase, c.system, rateMeasure, l.rate())
				b.add(5, kase, c.system, costMeasure, l.cost())
			}
			return err
		}
	}
	tls := b.lineup.pick(acceptingSecure, stock, noOption, stockAgain, usualTen, dearTen)
	if err := rounds(ctx, b.few(5*b.pairs, 1), tls, ask(smallTLS, anyPath, glance)); err != nil {
		return err
	}
	others := b.lineup.pick(plain, stock, auto, on, off, "nginx", "HAProxy", "Apache httpd", lighttpd, paste)
	if err := rounds(ctx, b.few(4, 1), others, ask(starsBody, starsPath, b.long())); err != nil {
		return err
	}
	c, _ := b.lineup.find(accepting, dearTen)
	return b.profile(ctx, "accept", c, anyPath, closeAfter)
}

const acceptBar = .98

func reportAccept(r *record) section {
	s := section{Profile: r.Notes["accept"]}
	s.Text = fmt.Sprintf(`In bursts of %d connections with one request each, of which each Caddy has %d in a round, in turn; over TLS with wrk, %d connections
at a time. The usual options are `, burstSize, burstTurns, atOnce) + listed(ten.Usual) + `; the dear ones are
` + listed(ten.Dear) + `. "` + stockAgain + `" is a second port without the plugin: the noise of this machine.`
	for _, kase := range []struct {
		name   string
		judged []string
	}{
		{smallBody, []string{noOption, oneOption, usualTen, dearTen}},
		{smallOneCore, []string{noOption, usualTen, dearTen}},
		{smallNoMPTCP, []string{noOption, usualTen, dearTen}},
		{smallTLS, nil}, // more noise than the bar has room for, and the same calls in four times the time
	} {
		t := newTable("Caddy", "connections/s", "ratio to stock, quartiles of the pairs", "bar", "CPU µs each", "ratio to stock, quartiles")
		t.Title = fmt.Sprintf("%s, %d rounds:", kase.name, len(r.of(5, kase.name, stock, rateMeasure)))
		var bars []bar
		for _, system := range r.systems(5, kase.name) {
			rate, cost := r.of(5, kase.name, system, rateMeasure), r.of(5, kase.name, system, costMeasure)
			ratio, judged := r.beside(5, kase.name, system, rateMeasure), "–"
			if slices.Contains(kase.judged, system) {
				_, how, _ := strings.Cut(kase.name, ", ")
				what := strings.TrimSuffix(fmt.Sprintf("5, `%s`: connections a second, of stock Caddy's, %s", system, how), ", ")
				judged = s.typicallyAtLeast(what, ratio, acceptBar)
			}
			t.add(system, number(median(rate)), quartiles(ratio), judged,
				number(median(cost)), quartiles(r.beside(5, kase.name, system, costMeasure)))
			if system != stock {
				bars = append(bars, bar{system, ratio})
			}
		}
		s.Tables = append(s.Tables, t)
		if kase.name == smallBody {
			s.Pictures = []picture{{"accept", spreadPicture("Connections a second, divided by stock Caddy's of the same round", acceptBar, bars)}}
		}
	}
	s.Tables = append(s.Tables, allTable(r, 5, starsBody, "connections/s"))
	return s
}

// listed are options as they stand in a Caddyfile.
func listed(options []string) string { return "`" + strings.Join(options, "`, `") + "`" }
