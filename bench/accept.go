//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
)

// tenOptions are options that every accepted connection takes, and that leave it
// as fast as it is.
var tenOptions = []string{
	"nodelay on", "notsent_lowat 1MiB", "thin_stream on", "keepalive on", "keepalive_idle 15s",
	"keepalive_interval 15s", "keepalive_count 9", "user_timeout 5m", "dscp af11", "ttl 64",
}

const accepting work = "new connections"

// acceptSeats have none, one and ten options.
var acceptSeats = func() []seat {
	seats := []seat{{accepting, stock, caddySite{directives: "echo_payload 100"}}}
	for _, count := range []int{0, 1, 10} {
		wrapper := "sockopt {\n" + strings.Join(tenOptions[:count], "\n") + "\n}"
		seats = append(seats, seat{accepting, optionsNamed(count), caddySite{wrapper: wrapper, directives: "echo_payload 100"}})
		if count == 0 {
			seats = append(seats, seat{accepting, stockAgain, caddySite{directives: "echo_payload 100"}})
		}
	}
	return seats
}()

func optionsNamed(count int) string {
	switch count {
	case 0:
		return "sockopt, 0 options"
	case 1:
		return "sockopt, 1 option"
	}
	return fmt.Sprintf("sockopt, %d options", count)
}

const (
	smallBody   = "a connection for each request of 100 bytes"
	starsBody   = "a connection for each request of 10,000 bytes"
	costMeasure = "CPU microseconds"
	closeAfter  = "--header=Connection: close"
	atOnce      = 16 // connections of a load
	anyPath     = "/"
)

// measureAccept has wrk open a connection for each request.
func measureAccept(ctx context.Context, b *bench) error {
	ask := func(kase, path string) func(c contender) error {
		return func(c contender) error {
			l, err := b.wrk(ctx, c, path, atOnce, closeAfter)
			if err == nil {
				b.add(5, kase, c.system, rateMeasure, l.rate())
				b.add(5, kase, c.system, costMeasure, l.cost())
			}
			return err
		}
	}
	if err := rounds(ctx, b.few(2*b.pairs, 1), b.lineup.contenders[accepting], ask(smallBody, anyPath)); err != nil {
		return err
	}
	others := b.lineup.pick(plain, stock, auto, on, off, "nginx", "HAProxy", "Apache httpd", lighttpd, paste)
	if err := rounds(ctx, b.few(4, 1), others, ask(starsBody, starsPath)); err != nil {
		return err
	}
	c, _ := b.lineup.find(accepting, optionsNamed(10))
	return b.profile(ctx, "accept", c, anyPath, closeAfter)
}

const acceptBar = .98

func reportAccept(r *record) section {
	var s section
	paired := newTable("Caddy", "connections/s", "ratio to stock, quartiles of the pairs", "bar", "CPU µs each", "ratio to stock, quartiles")
	var bars []bar
	for _, system := range r.systems(5, smallBody) {
		rate, cost := r.of(5, smallBody, system, rateMeasure), r.of(5, smallBody, system, costMeasure)
		ratio := r.beside(5, smallBody, system, rateMeasure)
		judged := "–"
		if strings.HasPrefix(system, "sockopt") {
			judged = s.atLeast("5, `"+system+"`: connections a second, of stock Caddy's", median(ratio), acceptBar)
		}
		paired.add(system, number(median(rate)), quartiles(ratio), judged,
			number(median(cost)), quartiles(r.beside(5, smallBody, system, costMeasure)))
		if system != stock {
			bars = append(bars, bar{system, ratio})
		}
	}
	paired.Title = smallBody + ":"
	s.Text = `wrk opens a connection for each request, 16 at a time. The ten options are ` + "`" + strings.Join(tenOptions, "`, `") + "`" + `: each is
one setsockopt for each connection, where the kernel has not the value already. "` + stockAgain + `" is a second port without the plugin: the
noise of this machine.`
	s.Tables = []table{paired, allTable(r, 5, starsBody, "connections/s")}
	s.Pictures = []picture{{"accept", spreadPicture("Connections a second, divided by stock Caddy's of the same round", acceptBar, bars)}}
	s.Profile = r.Notes["accept"]
	return s
}
