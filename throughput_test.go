package sockopt

import (
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkObserved compares stock Caddy with what is named in a route: what it costs to
// observe a request, and to change two options for it, in requests a second and in CPU
// time for each of them. Each of its operations is a pair of measurements, one second of
// one server and then one of the other:
//
//	go test -run '^$' -bench Observed -benchtime 20x .
//
// It reports medians, and the quartiles of the ratios of the pairs.
func BenchmarkObserved(b *testing.B) {
	for _, ours := range []struct {
		name, lines string
		wrapping
	}{
		{"tcp_info and metrics", "tcp_info\nheader X-RTT {http.tcp_info.rtt}", wrapping{"metrics", "sockopt {\nmetrics\n}"}},
		{"two options", "sockopt {\npriority 3\nuser_timeout 30s\n}", wrapAuto},
	} {
		b.Run(ours.name, func(b *testing.B) {
			var l lineup
			stock := l.add(b, wrapStock, protocolPlain, "header X-RTT 0.000012\necho_payload")
			order := []contender{stock, l.add(b, ours.wrapping, protocolPlain, ours.lines+"\necho_payload")}
			observed := order[1]
			caddy := l.spawn(b)
			rates, costs := make(map[contender][]float64), make(map[contender][]float64)
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
	b.ReportMetric(quantile(stock, 0.5), "stock-"+unit)
	b.ReportMetric(quantile(ours, 0.5), "ours-"+unit)
	b.ReportMetric(quantile(ratios, 0.25), unit+"-ratio-q1")
	b.ReportMetric(quantile(ratios, 0.5), unit+"-ratio-q2")
	b.ReportMetric(quantile(ratios, 0.75), unit+"-ratio-q3")
}

// wrk asks over 16 connections at a time, for a second. It returns the requests a second
// and Caddy's microseconds of CPU time for each.
func wrk(b *testing.B, caddy *running, c contender, more ...string) (rate, cost float64) {
	b.Helper()
	scheme := "http"
	if c.protocol == protocolTLS {
		scheme = "https"
	}
	before := caddy.cpu()
	args := append([]string{"--threads=1", "--connections=16", "--duration=1s"}, more...)
	output := play(b, nil, "wrk", append(args, scheme+"://"+c.addr+"/")...)
	spent := caddy.cpu() - before
	require.NotContains(b, output, "Non-2xx")
	require.NotRegexp(b, `(connect|read|write) [1-9]`, output)
	return figure(b, output, `Requests/sec: +(\S+)`), 1e6 * spent / figure(b, output, `(\d+) requests in`)
}

// cpu returns the seconds of CPU time that Caddy has used.
func (c *running) cpu() float64 {
	c.t.Helper()
	_, metrics := c.api(http.MethodGet, "/metrics", "", "")
	return figure(c.t, metrics, `(?m)^process_cpu_seconds_total (\S+)`)
}
