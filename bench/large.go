//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

const (
	asItComes = "Caddy as it comes"
	noLimit   = "`write_idle -1s`"
	buffered  = "quickack auto, buffers of 1 MiB"
)

func downloading(how, over string) work { return work(over + ", " + how) }

// largeSeats serve the large file, as Caddy comes and without the limit on idle
// writes, which in Caddy 2.11.9 hides the file from sendfile(2).
var largeSeats = func() []seat {
	var seats []seat
	for _, over := range []string{overPlain, overTLS} {
		for _, how := range []string{asItComes, noLimit} {
			options := ""
			if how == noLimit {
				options = "timeouts {\nwrite_idle -1s\n}"
			}
			for _, system := range []string{stock, auto, buffered} {
				wrapper := wrappers[system]
				if system == buffered {
					wrapper = "sockopt {\nsend_buffer 1MiB\nrecv_buffer 1MiB\n}"
				}
				seats = append(seats, seat{downloading(how, over), system, caddySite{
					wrapper: wrapper, options: options, directives: "root {root}\nfile_server", secure: over == overTLS,
				}})
			}
		}
	}
	return seats
}()

const (
	bytesMeasure    = "bytes a second"
	gigabyteMeasure = "CPU seconds a GiB"
	vethNote        = "veth"
	overLoopback    = "loopback"
	overVeth        = "veth, MTU 1500"
)

// measureLarge downloads the large file over loopback, and over a veth pair.
func measureLarge(ctx context.Context, b *bench) error {
	if err := b.download(ctx, b.lineup, overLoopback); err != nil {
		return err
	}
	for _, kase := range largeCases(b.lineup) {
		for _, c := range kase.contenders {
			cl := newClient(b.site, c, false)
			counted, err := b.trace(ctx, c.process, 1, func() error {
				return errors.Join(cl.get(ctx, c.url(largePath), b.site.large), cl.Close())
			})
			if err != nil {
				return fmt.Errorf("%s: tracing: %w", c.system, err)
			}
			b.Notes[namesMeasure+" "+kase.name+" "+c.system] = sent(counted)
		}
	}
	n, err := newNamespace(ctx)
	if err != nil {
		log.Printf("row 7 is without the veth pair: %v", err)
		b.Notes[vethNote] = err.Error()
		return nil
	}
	far := plan{host: farHost, wrap: n.wrap(), servers: []server{caddyServer(largeSeats)}}
	for _, s := range []server{nginxServer, apacheServer, lighttpdServer} {
		if !b.without(s.name) {
			far.servers = append(far.servers, s)
		}
	}
	l, err := b.start(ctx, far)
	if err != nil {
		return errors.Join(err, n.remove())
	}
	err = b.download(ctx, l, overVeth)
	l.end()
	return errors.Join(err, n.remove())
}

// largeCase is servers whose downloads are compared.
type largeCase struct {
	name       string
	contenders []contender
}

func largeCases(l *lineup) []largeCase {
	var cases []largeCase
	for _, over := range []string{overPlain, overTLS} {
		for _, how := range []string{asItComes, noLimit} {
			cases = append(cases, largeCase{string(downloading(how, over)), l.contenders[downloading(how, over)]})
		}
		w := plain
		if over == overTLS {
			w = secure
		}
		cases = append(cases, largeCase{over + ", other servers", l.pick(w, "nginx", "Apache httpd", lighttpd)})
	}
	return cases
}

// download measures each server's downloads, several in each round.
func (b *bench) download(ctx context.Context, l *lineup, network string) error {
	times := b.few(4, 1)
	for _, kase := range largeCases(l) {
		err := rounds(ctx, b.few((b.pairs+1)/2, 1), kase.contenders, func(c contender) error {
			cl := newClient(b.site, c, false)
			defer cl.Close()
			begin, before := time.Now(), c.process.cpu()
			for range times {
				if err := cl.get(ctx, c.url(largePath), b.site.large); err != nil {
					return err
				}
			}
			bytes := float64(times * b.site.large)
			b.add(7, network+": "+kase.name, c.system, bytesMeasure, bytes/time.Since(begin).Seconds())
			b.add(7, network+": "+kase.name, c.system, gigabyteMeasure, (c.process.cpu()-before)/bytes*(1<<30))
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %s: %w", network, kase.name, err)
		}
	}
	return nil
}

// sent says with which calls the bytes of a file left.
func sent(counted map[string]tally) string {
	var sum float64
	senders := make(map[string]tally)
	for _, name := range []string{"write", "writev", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice"} {
		if t := counted[name]; t.returned > 0 {
			senders[name] = t
			sum += t.returned
		}
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(senders)) {
		t := senders[name]
		names = append(names, fmt.Sprintf("%s: %s calls, %.1f %%", name, humanize.Comma(int64(t.calls)), 100*t.returned/sum))
	}
	return strings.Join(names, "; ")
}

// shortly leaves out of a picture's labels what goes without saying.
var shortly = strings.NewReplacer(", "+asItComes, "", "`", "", ", MTU 1500", "", buffered, "auto, 1 MiB", auto, "auto")

func reportLarge(r *record) section {
	var s section
	size := "100 MiB"
	if r.Quick {
		size = "4 MiB"
	}
	s.Text = `One connection downloads a file of ` + size + `, again and again. "Other servers" have their own configuration: HAProxy serves no
files, and has no line. Caddy 2.11.9 moves files with sendfile only where ` + noLimit + ` is in the server's timeouts. Over the veth
pair, the kernel passes segments of up to 64 KiB in one piece where it can (GSO), as it does with network cards. How each server sent
the file is from strace, over loopback.`
	if why := r.Notes[vethNote]; why != "" {
		s.Text += " The veth pair was left out: " + why + "."
	}
	t := newTable("network and protocol", "system", "MiB/s", "ratio to stock, quartiles", "CPU s a GiB", "ratio to stock, quartiles", "sent with")
	var bars []bar
	for _, kase := range r.cases(7) {
		_, local, _ := strings.Cut(kase, ": ")
		for _, system := range r.systems(7, kase) {
			rate, cost := r.of(7, kase, system, bytesMeasure), r.of(7, kase, system, gigabyteMeasure)
			t.add(kase, system, number(median(rate)/(1<<20)), quartiles(r.beside(7, kase, system, bytesMeasure)),
				twoDigits(median(cost)), quartiles(r.beside(7, kase, system, gigabyteMeasure)), r.Notes[namesMeasure+" "+local+" "+system])
			if system == auto || system == buffered {
				bars = append(bars, bar{shortly.Replace(kase + ": " + system), r.beside(7, kase, system, bytesMeasure)})
			}
		}
	}
	s.Tables = []table{t}
	s.Pictures = []picture{{"large", spreadPicture("Bytes a second of a large file, divided by stock Caddy's of the same round", 1, bars)}}
	return s
}
