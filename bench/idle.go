//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

const (
	heapMeasure      = "heap bytes a connection"
	stackMeasure     = "stack bytes a connection"
	goroutineMeasure = "goroutines a connection"
	memoryMeasure    = "bytes of memory a connection"
)

// measureIdle opens connections, each of which has had a request, and asks what they
// take, of fresh processes.
func measureIdle(ctx context.Context, b *bench) error {
	var systems []contender
	servers := make(map[string]server)
	for _, system := range []string{stock, auto, on, off} {
		seats := []seat{{plain, system, caddySite{wrapper: wrappers[system], directives: "echo_payload"}}}
		servers[system] = caddyServer(seats)
		systems = append(systems, contender{system: system})
	}
	for _, s := range []server{nginxServer, haproxyServer, apacheServer, lighttpdServer} {
		if !b.without(s.name) {
			servers[s.name] = s
			systems = append(systems, contender{system: s.name})
		}
	}
	return rounds(ctx, b.few(5, 1), systems, func(c contender) error { return b.fresh(ctx, servers[c.system]) })
}

// footprint is what a process takes for all of its connections.
type footprint struct {
	heap, stack, goroutines, memory float64

	serving float64 // of the goroutines, those that serve a connection
}

// fresh starts a server, opens connections and measures what each takes. Caddy's are
// closed again, and where they are few, opened again and again: what a process does
// besides is more than a few connections take.
func (b *bench) fresh(ctx context.Context, s server) error {
	l, err := b.start(ctx, plan{host: loopbackHost, servers: []server{s}})
	if err != nil {
		return err
	}
	defer l.end()
	c := l.contenders[plain][0]
	open := opened{addr: c.addr}
	defer open.close(0)
	isCaddy := s.name == "Caddy"
	if isCaddy {
		// What is allocated once for all is allocated by these.
		if err := open.until(ctx, 100); err != nil {
			return err
		}
	}
	before, err := l.footprint(ctx, c, isCaddy)
	if err != nil {
		return err
	}
	first := len(open.conns)
	for _, count := range []int{10, 100, 1000, b.few(10_000, 2000)} {
		times := 1
		if isCaddy && count < spans {
			times = b.few(20, 2)
		}
		for range times {
			if err := open.until(ctx, first+count); err != nil {
				return err
			}
			after, err := l.footprint(ctx, c, isCaddy)
			if err != nil {
				return err
			}
			kase, n := humanize.Comma(int64(count)), float64(count)
			b.add(6, kase, c.system, memoryMeasure, (after.memory-before.memory)/n)
			if !isCaddy {
				continue
			}
			b.add(6, kase, c.system, heapMeasure, (after.heap-before.heap)/n)
			b.add(6, kase, c.system, stackMeasure, (after.stack-before.stack)/n)
			b.add(6, kase, c.system, goroutineMeasure, (after.goroutines-before.goroutines)/n)
			open.close(first)
			if before, err = l.settled(ctx, c, before.serving); err != nil {
				return err
			}
		}
	}
	return nil
}

// settled returns what Caddy takes when it serves no more connections than before.
func (l *lineup) settled(ctx context.Context, c contender, connections float64) (f footprint, err error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if f, err = l.footprint(ctx, c, true); err != nil || f.serving <= connections {
			return f, err
		}
		if time.Now().After(deadline) {
			return f, fmt.Errorf("%s serves %.0f connections, and served %.0f before", c.system, f.serving, connections)
		}
	}
}

func (l *lineup) footprint(ctx context.Context, c contender, isCaddy bool) (f footprint, err error) {
	if !isCaddy {
		return footprint{memory: c.process.memory()}, nil
	}
	// What a sync.Pool holds survives one collection.
	if _, err := l.ask(ctx, "/debug/pprof/heap?gc=1"); err != nil {
		return f, err
	}
	heap, err := l.ask(ctx, "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		return f, err
	}
	goroutines, err := l.ask(ctx, "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return f, err
	}
	f.memory = c.process.memory()
	for _, found := range []struct {
		in, pattern string
		to          *float64
	}{
		{heap, `# HeapAlloc = (\d+)`, &f.heap},
		{heap, `# Stack = (\d+)`, &f.stack},
		{goroutines, `goroutine profile: total (\d+)`, &f.goroutines},
	} {
		if *found.to, err = figure(found.in, found.pattern); err != nil {
			return f, err
		}
	}
	_, stacks, _ := strings.Cut(goroutines, "\n") // after the total
	for stack := range strings.SplitSeq(stacks, "\n\n") {
		if !strings.Contains(stack, "net/http.(*conn).serve") {
			continue
		}
		var alike float64
		if _, err := fmt.Sscan(stack, &alike); err != nil {
			return f, err
		}
		f.serving += alike
	}
	return f, nil
}

// opened are connections that have had one request and are kept.
type opened struct {
	addr   string
	conns  []net.Conn
	reader *bufio.Reader
}

func (o *opened) until(ctx context.Context, count int) error {
	if o.reader == nil {
		o.reader = bufio.NewReader(nil)
	}
	var dialer net.Dialer
	for len(o.conns) < count {
		conn, err := dialer.DialContext(ctx, "tcp", o.addr)
		if err != nil {
			return err
		}
		o.conns = append(o.conns, conn)
		// A server that takes no more lets them wait.
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "GET "+starsPath+" HTTP/1.1\r\nHost: "+o.addr+"\r\n\r\n"); err != nil {
			return err
		}
		o.reader.Reset(conn)
		resp, err := http.ReadResponse(o.reader, nil)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || n != int64(len(stars)) {
			return fmt.Errorf("%d of %d bytes: %w", n, len(stars), err)
		}
	}
	return nil
}

// close closes all but the first connections.
func (o *opened) close(all int) {
	for _, conn := range o.conns[all:] {
		conn.Close()
	}
	o.conns = o.conns[:all]
}

const (
	// memoryBar is how many bytes more than stock Caddy's a connection may take.
	memoryBar = 256

	// spans is how many connections fill so many spans of stacks that one more or
	// less is little.
	spans = 1000
)

func reportIdle(r *record) section {
	var s section
	t := newTable("idle connections", "system", "heap, bytes each", "more than stock", "stacks, bytes each", "more than stock", "goroutines each", "bar")
	rest := newTable("idle connections", "system", "memory, bytes each")
	var bars []bar
	for _, kase := range r.cases(6) {
		typical := func(system, measure string) float64 { return median(r.of(6, kase, system, measure)) }
		count, _ := strconv.Atoi(strings.ReplaceAll(kase, ",", "")) // as fresh wrote it
		for _, system := range r.systems(6, kase) {
			isCaddy := len(r.of(6, kase, system, heapMeasure)) > 0
			if !isCaddy || count >= spans {
				rest.add(kase, system, spread(r.of(6, kase, system, memoryMeasure)))
			}
			if !isCaddy {
				continue
			}
			heap, stack := typical(system, heapMeasure), typical(system, stackMeasure)
			moreHeap, moreStack := heap-typical(stock, heapMeasure), stack-typical(stock, stackMeasure)
			judged := "–"
			switch what := "6, `" + system + "`: bytes more for each of " + kase + " idle connections"; {
			case system == stock:
			case count < spans:
				judged = s.typicallyAtMost(what+", heap", r.of(6, kase, system, heapMeasure), r.of(6, kase, stock, heapMeasure), memoryBar)
			default:
				judged = s.atMost(what, moreHeap+moreStack, memoryBar)
			}
			t.add(kase, system, number(heap), signed(moreHeap), number(stack), signed(moreStack),
				twoDigits(typical(system, goroutineMeasure)), judged)
			if count >= spans {
				bars = append(bars, bar{kase + ", " + system, []float64{heap + stack}})
			}
		}
	}
	t.Title = "Caddy, live after a garbage collection:"
	rest.Title = "All systems, memory of the processes (Pss), garbage and free memory included; of Caddy, whose garbage is more than a few\n" +
		"connections, from 1,000 on:"
	s.Text = `Connections that have had one request and stay open, beyond 100 that each Caddy had before. Go hands out stacks in spans of 32 KiB,
four of 8 KiB in each: 10 or 100 connections get as many spans as happen to be needed, whatever listens, so of those the bar is for the
heap alone. From 1,000 on it is for both.`
	s.Tables = []table{t, rest}
	s.Pictures = []picture{{"idle", linearPicture("Heap and stack bytes of an idle connection, by their number", "B", bars)}}
	return s
}
