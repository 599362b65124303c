//go:build linux

package main

import (
	"context"
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
	var systems []contender
	for _, system := range []string{stock, auto, on, off} {
		systems = append(systems, contender{system: system})
	}
	return rounds(ctx, b.few(5, 1), systems, func(c contender) error {
		l := b.newLineup()
		defer l.end()
		caddy, err := l.startCaddy([]site{{work: plain, system: c.system, Wrapper: wrappers[c.system], Directives: "echo_payload"}})
		if err != nil {
			return err
		}
		return b.fill(ctx, l.find(plain, c.system), caddy)
	})
}

// fill opens connections and adds what each takes.
func (b *bench) fill(ctx context.Context, c contender, caddy *lab.Caddy) error {
	cl := b.newClient(c, bursts{protocol: http1})
	defer cl.close()
	until := func(count int) (heap, stack float64, err error) {
		for len(cl.conns) < count {
			if err := cl.open(); err != nil {
				return 0, 0, err
			}
			conn := cl.conns[len(cl.conns)-1]
			if err := conn.Send(); err != nil {
				return 0, 0, err
			}
			if _, err := conn.Receive(); err != nil {
				return 0, 0, err
			}
		}
		return footprint(ctx, caddy)
	}
	// What Caddy allocates once for all it allocates for these.
	const first = 100
	heap, stack, err := until(first)
	if err != nil {
		return err
	}
	for _, count := range []int{1000, b.few(10_000, 2000)} {
		heapNow, stackNow, err := until(first + count)
		if err != nil {
			return err
		}
		kase := humanize.Comma(int64(count))
		b.add(6, kase, c.system, heapMeasure, (heapNow-heap)/float64(count))
		b.add(6, kase, c.system, stackMeasure, (stackNow-stack)/float64(count))
	}
	return nil
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
	if heap, err = figure(profile, `# HeapAlloc = (\d+)`); err != nil {
		return 0, 0, err
	}
	stack, err = figure(profile, `# Stack = (\d+)`)
	return heap, stack, err
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
			t.add(kase, system, number(heap), signed(moreHeap), number(stack), signed(moreStack), judged)
		}
	}
	s.Tables = []table{t}
	return s
}
