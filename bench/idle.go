//go:build linux

package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/dustin/go-humanize"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

const (
	heapMeasure  = "heap bytes a connection"
	stackMeasure = "stack bytes a connection"
)

// measureIdle opens connections to fresh Caddys, each of which has had a request, and
// asks what they take.
func measureIdle(ctx context.Context, b *bench) error {
	return rounds(ctx, b.few(5, 1), b.pick(plain, stock, auto, on, off), func(c contender) error {
		l := b.newLineup()
		defer l.end()
		caddy, err := l.startCaddy([]site{{work: plain, system: c.system, Wrapper: wrappers[c.system], Directives: "echo_payload"}})
		if err != nil {
			return err
		}
		cl := b.newClient(l.find(plain, c.system), bursts{protocol: http1})
		defer cl.close()
		var heap, stack float64
		// What Caddy allocates once for all it allocates for the first connections.
		for _, count := range []int{0, 1000, b.few(10_000, 2000)} {
			for len(cl.conns) < 100+count {
				if err := cl.open(); err != nil {
					return err
				}
				conn := cl.conns[len(cl.conns)-1]
				err := conn.Send()
				if err == nil {
					_, err = conn.Receive()
				}
				if err != nil {
					return err
				}
			}
			heapNow, stackNow, err := footprint(ctx, caddy)
			if err != nil {
				return err
			}
			if count == 0 {
				heap, stack = heapNow, stackNow
				continue
			}
			kase := humanize.Comma(int64(count))
			b.add(6, kase, c.system, heapMeasure, (heapNow-heap)/float64(count))
			b.add(6, kase, c.system, stackMeasure, (stackNow-stack)/float64(count))
		}
		return nil
	})
}

// footprint returns the bytes of Caddy's heap that live, and those of its stacks.
func footprint(ctx context.Context, caddy *lab.Caddy) (heap, stack float64, err error) {
	var profile string
	for range 2 { // what a sync.Pool holds survives one collection
		_, profile, err = caddy.Ask(ctx, http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", "", "")
		if err != nil {
			return 0, 0, err
		}
	}
	heap, err = figure(profile, `# HeapAlloc = (\d+)`)
	stack, stackErr := figure(profile, `# Stack = (\d+)`)
	return heap, stack, errors.Join(err, stackErr)
}

// memoryBar is how many bytes more than stock Caddy's a connection may take.
const memoryBar = 256

func reportIdle(r *record) section {
	var s section
	t := newTable("idle connections", "system", "heap, bytes each", "more than stock", "stacks, bytes each", "more than stock", "bar")
	for _, kase := range r.cases(6) {
		typical := func(system, measure string) float64 { return lab.Median(r.Of(6, kase, system, measure)) }
		for _, system := range r.systems(6, kase, heapMeasure) {
			heap, stack := typical(system, heapMeasure), typical(system, stackMeasure)
			moreHeap, moreStack := heap-typical(stock, heapMeasure), stack-typical(stock, stackMeasure)
			judged := "–"
			if system != stock {
				judged = s.atMost("6, `"+system+"`: bytes more for each of "+kase+" idle connections", moreHeap+moreStack, memoryBar)
			}
			t.Row(kase, system, number(heap), signed(moreHeap), number(stack), signed(moreStack), judged)
		}
	}
	s.Tables = []table{t}
	return s
}
