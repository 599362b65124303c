//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

const (
	behindTickets work = "before a TLS backend that sends tickets"

	newNagle   = "Nagle's algorithm on, from Finished"
	newNoDelay = "TCP_NODELAY, a connection for each request"
	newBackend = "A Nagle backend over TLS, a connection for each request"
)

var handshakeSystems = []string{stock, auto, on, off, "nginx", "HAProxy", "Apache httpd", "lighttpd"}

// measureHandshake opens new HTTPS connections: of a client that Caddy cannot change, of
// one with TCP_NODELAY, and of Caddy itself to a backend that it cannot change.
func measureHandshake(ctx context.Context, b *bench) error {
	times := b.few(200, 5)
	nagle := bursts{protocol: http1TLS, connections: 1, nagle: true}
	err := rounds(ctx, 1, b.pick(secure, handshakeSystems...), func(c contender) error {
		cl := b.newClient(c, nagle)
		for i := range b.few(warmUp, 1) + times {
			took, err := cl.first()
			if err != nil {
				return err
			}
			if i >= b.few(warmUp, 1) {
				b.add(7, newNagle, c.system, secondsMeasure, took.Seconds())
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	closing := bursts{protocol: http1TLS, connections: burstSize, closing: true}
	if err := b.compare(ctx, 7, newNoDelay, b.few(3*b.pairs, 1), b.few(burstTurns, 2), b.pick(secure, pairedSystems...), closing); err != nil {
		return err
	}
	proxies := b.newLineup()
	defer proxies.end()
	if err := proxies.startTickets(); err != nil {
		return err
	}
	return rounds(ctx, 1, proxies.pick(behindTickets, stockTransport, sockoptTransport), func(c contender) error {
		cl := b.newClient(c, bursts{protocol: http1, connections: 1})
		defer cl.close()
		for range times {
			begin := time.Now()
			if err := cl.burst(); err != nil {
				return err
			}
			b.add(7, newBackend, c.system, secondsMeasure, time.Since(begin).Seconds())
		}
		return nil
	})
}

// first opens a connection and asks over it. It returns how long that took from the end of
// the handshake, with which the client sends Finished, to the first byte of the response.
func (cl *client) first() (took time.Duration, err error) {
	defer cl.close()
	if err := cl.open(); err != nil {
		return 0, err
	}
	exchange := cl.conns[0].Exchange.(*http1Exchange)
	if err := exchange.stream.(*tls.Conn).Handshake(); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := exchange.Send(); err != nil {
		return 0, err
	}
	_, err = exchange.stream.Read(make([]byte, 1))
	return time.Since(begin), err
}

// startTickets starts the backend, and a Caddy that opens a connection to it for each
// request.
func (l *lineup) startTickets() error {
	dir, ports, err := l.prepare(1)
	if err != nil {
		return err
	}
	addr := lab.HostPort(lab.Loopback, ports[0])
	if _, err := l.start(dir, lab.TicketServerCommand(addr, l.bench.certificate.File), ports); err != nil {
		return err
	}
	var sites []site
	for system, transport := range map[string]string{stockTransport: "http", sockoptTransport: "sockopt"} {
		directives := fmt.Sprintf("reverse_proxy https://%s {\ntransport %s {\ntls_insecure_skip_verify\nkeepalive off\n}\n}", addr, transport)
		sites = append(sites, site{work: behindTickets, system: system, Directives: directives})
	}
	_, err = l.startCaddy(sites)
	return err
}

// A new connection of a client with Nagle's algorithm on is that much faster than at stock
// Caddy, and at most that much slower than at nginx; as many are made a second.
const handshakeBar, nginxBar, newBar, newCPUBar = 20, 3, .98, 1.02

func reportHandshake(r *record) section {
	var s section
	middle := func(kase, system string) float64 { return lab.Median(r.Of(7, kase, system, secondsMeasure)) }
	for _, kase := range []string{newNagle, newBackend} {
		slow, cure := middle(kase, stock), auto
		t := newTable("system", "p50, ms", "p99, ms", "p50 of stock Caddy, divided", "bar", "times nginx's", "bar")
		if kase == newBackend {
			slow, cure = middle(kase, stockTransport), sockoptTransport
			t = newTable("transport", "p50, ms", "p99, ms", "p50 of stock Caddy, divided", "bar")
		}
		for _, system := range r.systems(7, kase, secondsMeasure) {
			seconds := r.Of(7, kase, system, secondsMeasure)
			t.Title = fmt.Sprintf("%s, %d connections to each:", kase, len(seconds))
			judged, nginxs := "–", "–"
			if p50 := middle(kase, system); system == cure && kase == newNagle {
				judged = s.atLeast("7, "+kase+", `"+cure+"`: p50 of stock Caddy, divided by its own", slow/p50, handshakeBar)
				times := p50 / middle(kase, "nginx")
				nginxs = s.judge(verdict{"7, " + kase + ", `" + cure + "`: p50, times nginx's", number(times), "≤ " + number(nginxBar), times <= nginxBar, ""})
			}
			cells := []string{system, number(1e3 * middle(kase, system)), number(1e3 * lab.Quantile(seconds, .99)), number(slow / middle(kase, system)), judged}
			if kase == newNagle {
				cells = append(cells, number(middle(kase, system)/middle(kase, "nginx")), nginxs)
			}
			t.Row(cells...)
		}
		s.Tables = append(s.Tables, t)
	}
	s.compare(r, 7, newBar, newCPUBar)
	return s
}
