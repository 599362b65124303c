//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

const (
	overHTTP3 work = "HTTP/3"

	packets = "packet conn wrapper"
)

// packetOptions are those of docs/http3.md.
var packetOptions = []string{"recv_buffer 16MiB", "send_buffer 8MiB", "dscp af21", "metrics"}

// http3Sites are with and without a packet conn wrapper.
func http3Sites() (sites []site) {
	for _, s := range []site{{system: stock}, {system: packets, Packets: "sockopt" + lab.Block(packetOptions...)}, {system: stockAgain}} {
		s.work, s.Secure, s.Directives = overHTTP3, true, "echo_payload /8MiB 8MiB\necho_payload"
		sites = append(sites, s)
	}
	return sites
}

// measureHTTP3 asks over a connection to each Caddy, one request after another.
func measureHTTP3(ctx context.Context, b *bench) error {
	for _, kase := range []struct {
		name, path string
		requests   int // of a turn
	}{
		{"HTTP/3, 10,000 `*`", "/", 100},
		{"HTTP/3, 8 MiB", "/8MiB", 2},
	} {
		client := &http.Client{Timeout: lab.Patience, Transport: &http3.Transport{
			TLSClientConfig: &tls.Config{RootCAs: b.certificate.Roots, MinVersion: tls.VersionTLS13},
		}}
		ask := func(c contender) error {
			resp, err := client.Get("https://" + c.addr() + kase.path) //nolint:noctx // it has a timeout
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", kase.name, resp.Status)
			}
			_, err = io.Copy(io.Discard, resp.Body)
			return err
		}
		contenders := b.pick(overHTTP3, stock, packets, stockAgain)
		if err := rounds(ctx, 1, contenders, ask); err != nil { // opens the connections
			return err
		}
		err := rounds(ctx, b.few(10*b.pairs, 1), contenders, func(c contender) error {
			count := b.few(kase.requests, 1)
			before, begin := cpuSeconds(c.pid), time.Now()
			for range count {
				if err := ask(c); err != nil {
					return err
				}
			}
			b.add(8, kase.name, c.system, rateMeasure, float64(count)/time.Since(begin).Seconds())
			b.add(8, kase.name, c.system, costMeasure, 1e6*(cpuSeconds(c.pid)-before)/float64(count))
			return nil
		})
		client.CloseIdleConnections()
		if err != nil {
			return err
		}
	}
	return nil
}

func reportHTTP3(r *record) section {
	var s section
	s.compare(r, 8, keepAliveBar, keepAliveCPUBar)
	return s
}
