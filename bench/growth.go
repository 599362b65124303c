//go:build linux

package main

import (
	"context"
	"fmt"

	"github.com/dustin/go-humanize"
)

// payloads grow from a byte on.
var payloads = []int{1, 100, 10_000, 1 << 20, 100 << 20}

func payloadName(size int) string {
	if size >= 1<<20 {
		return humanize.IBytes(uint64(size)) //nolint:gosec // of payloads
	}
	return humanize.Comma(int64(size)) + " B"
}

func serving(payload int) work { return work("payload " + payloadName(payload)) }

// growthSeats serve each payload.
var growthSeats = func() []seat {
	var seats []seat
	for _, size := range payloads {
		for _, system := range []string{stock, auto} {
			seats = append(seats, seat{serving(size), system, caddySite{wrapper: wrappers[system], directives: fmt.Sprintf("echo_payload %d", size)}})
		}
	}
	return seats
}()

func byPayload(size int) string { return payloadName(size) + " over 16 connections" }
func byConnections(n int) string {
	return fmt.Sprintf("10,000 B over %s connections", humanize.Comma(int64(n)))
}

func growthConnections(q bool) []int {
	if q {
		return []int{1, 10}
	}
	return []int{1, 10, 100, 1000}
}

// measureGrowth measures what a request costs, by its payload and by the number of
// connections.
func measureGrowth(ctx context.Context, b *bench) error {
	for _, n := range growthConnections(b.quick) {
		if err := b.grow(ctx, byConnections(n), 10_000, n); err != nil {
			return err
		}
	}
	for _, size := range payloads {
		if b.quick && size > 1<<20 {
			continue
		}
		if err := b.grow(ctx, byPayload(size), size, atOnce); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) grow(ctx context.Context, kase string, payload, connections int) error {
	return rounds(ctx, b.few((b.pairs+1)/2, 1), b.lineup.contenders[serving(payload)], func(c contender) error {
		l, err := b.wrk(ctx, b.long(), c, "/", connections)
		if err != nil {
			return err
		}
		if payload >= 1<<20 {
			l.requests = l.bytes / float64(payload) // those that were under way at the end, too
		}
		b.add(8, kase, c.system, rateMeasure, l.rate())
		b.add(8, kase, c.system, costMeasure, l.cost())
		return nil
	})
}

func reportGrowth(r *record) section {
	t := newTable("payload and connections", "req/s: stock", "auto", "ratio, quartiles", "CPU µs a request: stock", "auto", "ratio, quartiles")
	var bars []bar
	for _, kase := range r.cases(8) {
		typical := func(system, measure string) string { return number(median(r.of(8, kase, system, measure))) }
		costs := r.beside(8, kase, auto, costMeasure)
		t.add(kase, typical(stock, rateMeasure), typical(auto, rateMeasure), quartiles(r.beside(8, kase, auto, rateMeasure)),
			typical(stock, costMeasure), typical(auto, costMeasure), quartiles(costs))
		bars = append(bars, bar{kase, costs})
	}
	return section{
		Text:     "Plain HTTP/1.1 with keep-alive: `quickack auto` beside stock Caddy, by payload and by connections.",
		Tables:   []table{t},
		Pictures: []picture{{"growth", spreadPicture("CPU time of a request, quickack auto divided by stock Caddy", 1, bars)}},
	}
}
