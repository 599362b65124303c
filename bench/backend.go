//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

const (
	stockTransport   = "transport http, stock Caddy"
	sockoptTransport = "transport sockopt"

	// backendsInTurn has both backends behind one Caddy, request by request.
	backendsInTurn = sockoptTransport + ", backends in turn"
)

// nagleBackend is a Go server with Nagle's algorithm on that writes the payload in two
// pieces, and what the transport needs to speak with it.
type nagleBackend struct {
	name   string
	secure bool
	lines  string
}

var nagleBackends = []nagleBackend{
	{"HTTP/1.1", false, "versions 1.1"},
	{"HTTP/1.1 over TLS", true, "versions 1.1\ntls_insecure_skip_verify"},
	{"h2c", false, "versions h2c"},
	{"HTTP/2 over TLS", true, "versions 2\ntls_insecure_skip_verify"},
}

func (n nagleBackend) work() work { return "before a Nagle backend, " + work(n.name) }

// serve starts the backend and returns its URL.
func (n nagleBackend) serve() (server *httptest.Server, url string) {
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, piece := range [][]byte{lab.Stars[:100], lab.Stars[100:]} {
			_, _ = w.Write(piece) // the client may have gone
			_ = http.NewResponseController(w).Flush()
		}
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetHTTP2(n.secure)
	server.Config.Protocols.SetUnencryptedHTTP2(!n.secure)
	server.EnableHTTP2 = n.secure
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn()
		}
		if tcp, ok := conn.(*net.TCPConn); ok && state == http.StateNew {
			_ = tcp.SetNoDelay(false) // the client may have gone
		}
	}
	if n.secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	return server, server.URL
}

// measureNagleBackends asks one request after another over a connection that stays.
func measureNagleBackends(ctx context.Context, b *bench) error {
	proxies := b.newLineup()
	defer proxies.end()
	var sites []site
	for _, n := range nagleBackends {
		server, url := n.serve()
		defer server.Close()
		for system, transport := range map[string]string{stockTransport: "http", sockoptTransport: "sockopt"} {
			directives := "reverse_proxy " + url + " {\ntransport " + transport + " {\n" + n.lines + "\n}\n}"
			sites = append(sites, site{work: n.work(), system: system, Directives: directives})
		}
	}
	if _, err := proxies.startCaddy(sites); err != nil {
		return err
	}
	for _, n := range nagleBackends {
		err := rounds(ctx, 1, proxies.pick(n.work(), stockTransport, sockoptTransport), func(c contender) error {
			cl := b.newClient(c, bursts{protocol: http1, connections: 1})
			defer cl.close()
			for i := range warmUp + b.few(200, 5) {
				begin := time.Now()
				if err := cl.burst(); err != nil {
					return err
				}
				if i >= warmUp {
					b.add(3, string(n.work()), c.system, secondsMeasure, time.Since(begin).Seconds())
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// backendSites are Caddys in front of both Pastes, where these run.
func (l *lineup) backendSites() (sites []site) {
	for w, backend := range map[work]string{behindNagle: paste, behindNoDelay: pasteNoDelay} {
		for _, c := range l.pick(plain, backend) {
			sites = append(sites,
				site{work: w, system: stockTransport, Directives: "reverse_proxy " + c.addr()},
				site{work: w, system: sockoptTransport, Directives: "reverse_proxy " + c.addr() + " {\ntransport sockopt\n}"},
			)
		}
	}
	return sites
}

var backendSystems = []string{stockTransport, sockoptTransport, "nginx", "HAProxy", "Apache httpd", "lighttpd"}

// measureBackend asks one request after another through each proxy.
func measureBackend(ctx context.Context, b *bench) error {
	one := bursts{protocol: http1, connections: 1, inARow: b.few(25, 20)}
	for w, kase := range map[work]string{behindNagle: paste, behindNoDelay: pasteNoDelay} {
		err := b.compare(ctx, 3, kase, b.few(b.pairs, 1), 1, b.pick(w, backendSystems...), one)
		if err != nil {
			return err
		}
	}
	one.inARow = 0 // with the cure there is nothing to delay
	before, beforeNoDelay := b.find(behindNagle, sockoptTransport), b.find(behindNoDelay, sockoptTransport)
	before.system, beforeNoDelay.system = paste, pasteNoDelay
	err := b.compare(ctx, 3, backendsInTurn, b.few(25*b.pairs, 1), b.few(100, 20), []contender{before, beforeNoDelay}, one)
	if err != nil {
		return err
	}
	return measureNagleBackends(ctx, b)
}

// backendBar is the least share of the rate with TCP_NODELAY on the backend that the cure
// has; a request to a Go backend is that much faster than with stock Caddy.
const backendBar, nagleBackendBar = .95, 10

func reportBackend(r *record) section {
	var s section
	t := newTable("proxy", "before Paste, req/s", "before Paste with TCP_NODELAY, req/s", "share, quartiles of the pairs", "bar", "times stock Caddy", "bar")
	slow := lab.Median(r.Of(3, paste, stockTransport, rateMeasure))
	var bars []bar
	for _, system := range r.systems(3, paste, rateMeasure) {
		with, without := r.Of(3, paste, system, rateMeasure), r.Of(3, pasteNoDelay, system, rateMeasure)
		share, times := ratios(with, without), lab.Median(with)/slow
		shareBar, timesBar := "–", "–"
		if system == sockoptTransport {
			share = ratios(r.Of(3, backendsInTurn, paste, rateMeasure), r.Of(3, backendsInTurn, pasteNoDelay, rateMeasure))
			shareBar = s.typicallyAtLeast("3, `transport sockopt`: requests a second, of those of the TCP_NODELAY backend", share, backendBar)
			timesBar = s.atLeast("3, `transport sockopt`: requests a second before a Nagle backend, times stock Caddy's", times, cureBar)
		}
		t.Row(system, number(lab.Median(with)), number(lab.Median(without)), quartiles(share), shareBar, number(times), timesBar)
		bars = append(bars, bar{system, lab.Median(with)})
	}
	protocols := newTable("to the backend", "stock Caddy, p50, ms", "p99, ms", "transport sockopt, p50, ms", "p99, ms", "p50 of stock Caddy, divided", "bar")
	for _, n := range nagleBackends {
		slow, cured := r.Of(3, string(n.work()), stockTransport, secondsMeasure), r.Of(3, string(n.work()), sockoptTransport, secondsMeasure)
		if len(slow) == 0 {
			continue
		}
		protocols.Title = fmt.Sprintf("A Go backend with Nagle's algorithm on that writes the payload in two pieces, %d requests over connections that stay:", len(slow))
		times := lab.Median(slow) / lab.Median(cured)
		protocols.Row(n.name, number(1e3*lab.Median(slow)), number(1e3*lab.Quantile(slow, .99)), number(1e3*lab.Median(cured)), number(1e3*lab.Quantile(cured, .99)), number(times),
			s.atLeast("3, "+n.name+", `transport sockopt`: p50 of stock Caddy, divided by its own", times, nagleBackendBar))
	}
	s.Tables = []table{t, protocols}
	s.Picture = &picture{"nagle-backend", "Requests a second through a proxy before a Nagle backend", bars}
	return s
}
