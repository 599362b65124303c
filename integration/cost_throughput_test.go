package integration_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// BenchmarkObserved compares stock Caddy with a route that uses tcp_info, and with one that
// changes two options for each request: requests a second, and CPU time for each request.
// An operation is a pair of measurements, one second of one server and then one of the
// other:
//
//	go test -run '^$' -bench Observed -benchtime 20x ./integration
//
// It reports medians, and the quartiles of the ratios of the pairs.
func BenchmarkObserved(b *testing.B) {
	for _, ours := range []struct {
		name, lines string
		lab.Wrapping
	}{
		{"tcp_info and metrics", "tcp_info\nheader X-RTT {http.tcp_info.rtt}", lab.Wrapping{Name: "metrics", Lines: "sockopt {\nmetrics\n}"}},
		{"two options", "sockopt {\npriority 3\nuser_timeout 30s\n}", lab.Auto},
	} {
		b.Run(ours.name, func(b *testing.B) {
			var l lab.Sites
			stock := l.Add(b, lab.Stock, lab.Plain, "header X-RTT 0.000012\necho_payload")
			order := []lab.Site{stock, l.Add(b, ours.Wrapping, lab.Plain, ours.lines+"\necho_payload")}
			observed := order[1]
			caddy := l.Spawn(b)
			rates, costs := make(map[lab.Site][]float64), make(map[lab.Site][]float64)
			for b.Loop() {
				for _, c := range order {
					rate, cost := wrk(b, caddy, c)
					rates[c] = append(rates[c], rate)
					costs[c] = append(costs[c], cost)
				}
				slices.Reverse(order)
			}
			b.ReportMetric(0, "ns/op")
			compare(b, "req/s", rates[stock], rates[observed])
			compare(b, "cpu-µs/req", costs[stock], costs[observed])
		})
	}
}

// compare reports figures of stock Caddy and of ours that were measured in pairs.
func compare(b *testing.B, unit string, stock, ours []float64) {
	b.Helper()
	ratios := make([]float64, len(stock))
	for i := range ratios {
		ratios[i] = ours[i] / stock[i]
	}
	b.ReportMetric(lab.Quantile(stock, 0.5), "stock-"+unit)
	b.ReportMetric(lab.Quantile(ours, 0.5), "ours-"+unit)
	b.ReportMetric(lab.Quantile(ratios, 0.25), unit+"-ratio-q1")
	b.ReportMetric(lab.Quantile(ratios, 0.5), unit+"-ratio-q2")
	b.ReportMetric(lab.Quantile(ratios, 0.75), unit+"-ratio-q3")
}

// wrk asks over 16 connections at a time, for a second. It returns the requests a second
// and Caddy's microseconds of CPU time for each.
func wrk(b *testing.B, caddy *lab.Running, c lab.Site, more ...string) (rate, cost float64) {
	b.Helper()
	scheme := "http"
	if c.Protocol == lab.TLS {
		scheme = "https"
	}
	before := caddy.CPU()
	args := append([]string{"--threads=1", "--connections=16", "--duration=1s"}, more...)
	output := lab.Play(b, nil, "wrk", append(args, scheme+"://"+c.Addr+"/")...)
	spent := caddy.CPU() - before
	require.NotContains(b, output, "Non-2xx")
	require.NotRegexp(b, `(connect|read|write) [1-9]`, output)
	return lab.Figure(b, output, `Requests/sec: +(\S+)`), 1e6 * spent / lab.Figure(b, output, `(\d+) requests in`)
}

// BenchmarkHTTP3Download compares a large download with that of stock Caddy, in turn.
func BenchmarkHTTP3Download(b *testing.B) {
	const size = 32 << 20
	stock := newH3Site(b)
	ours := &h3Site{lab.Address(b), stock.certificate}
	directive := fmt.Sprintf("echo_payload %d", size)
	wrapped := fmt.Sprintf("servers :%s {\npacket_conn_wrappers {\nsockopt {\nrecv_buffer 8MiB\ndscp af21\nmetrics\n}\n}\n}", lab.PortOf(ours.addr))
	lab.Spawn(b, wrapped, stock.site(directive)+"\n"+ours.site(directive))
	clients := map[*h3Site]*http.Client{stock: stock.client(b, lab.Loopback), ours: ours.client(b, lab.Loopback)}
	var ratios []float64
	for b.Loop() {
		took := make(map[*h3Site]float64)
		order := []*h3Site{stock, ours}
		if len(ratios)%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			begin := time.Now()
			require.Len(b, s.get(b, clients[s]), size)
			took[s] = time.Since(begin).Seconds()
		}
		ratios = append(ratios, took[stock]/took[ours])
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "throughput/stock")
}
