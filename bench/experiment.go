//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// The clients of 2009.
const (
	newConnections = "httperf --num-conn 100"
	keepAlive      = "httperf --num-call 100"
	pipelined      = "nc, 100 requests pipelined"
	apacheBench    = "ab -n 100 -k"
)

// experimentSystems are all systems.
var experimentSystems = []string{nagle, stock, auto, on, off, "nginx", "HAProxy", "Apache httpd", lighttpd, paste, pasteMend}

// measureExperiment has the clients of 2009 ask for the payload of 2009.
func measureExperiment(ctx context.Context, b *bench) error {
	requests := b.few(100, 20)
	clients := []struct {
		name    string
		measure func(c contender) (float64, error)
	}{
		{newConnections, func(c contender) (float64, error) {
			return httperf(ctx, c, requests, fmt.Sprint("--num-conn=", requests))
		}},
		{keepAlive, func(c contender) (float64, error) {
			return httperf(ctx, c, requests, fmt.Sprint("--num-call=", requests))
		}},
		{pipelined, func(c contender) (float64, error) { return nc(ctx, c, requests) }},
		{apacheBench, func(c contender) (float64, error) { return ab(ctx, c, requests) }},
	}
	for _, client := range clients {
		err := rounds(ctx, b.few(9, 1), b.lineup.pick(plain, experimentSystems...), func(c contender) error {
			rate, err := client.measure(c)
			if err == nil {
				b.add(1, client.name, c.system, rateMeasure, rate)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", client.name, err)
		}
	}
	return nil
}

// rateMeasure is requests, or connections, a second.
const rateMeasure = "a second"

func httperf(ctx context.Context, c contender, requests int, how string) (rate float64, err error) {
	host, port, err := net.SplitHostPort(c.addr)
	if err != nil {
		return 0, err
	}
	text, err := outputOf(generator(ctx, "httperf", "--hog", "--server="+host, "--port="+port, "--uri="+starsPath, how))
	if err != nil {
		return 0, err
	}
	answered, err := figure(text, `Reply status: 1xx=0 2xx=(\d+) 3xx=0 4xx=0 5xx=0`)
	if err != nil || int(answered) != requests {
		return 0, fmt.Errorf("%d of %d requests were answered: %w:\n%s", int(answered), requests, err, text)
	}
	return figure(text, `Request rate: (\S+) req/s`)
}

// ab returns no rate, zero, where the server and ab wait for each other: Paste
// doesn't answer HTTP/1.0 with keep-alive, as ab -k wants it.
func ab(ctx context.Context, c contender, requests int) (rate float64, err error) {
	cmd := generator(ctx, "ab", fmt.Sprint("-n", requests), "-k", "-s1", c.url(starsPath))
	printed, err := cmd.CombinedOutput()
	text := string(printed)
	if err != nil && strings.Contains(text, "timeout specified has expired") {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, text)
	}
	failed, err := figure(text, `Failed requests: +(\d+)`)
	if err != nil || failed > 0 {
		return 0, fmt.Errorf("%.0f requests failed: %w: %s", failed, err, text)
	}
	return figure(text, `Requests per second: +(\S+)`)
}

// nc sends all requests at once and reads all responses. Its rate includes the
// start of the program.
func nc(ctx context.Context, c contender, requests int) (rate float64, err error) {
	host, port, err := net.SplitHostPort(c.addr)
	if err != nil {
		return 0, err
	}
	request := "GET " + starsPath + " HTTP/1.1\r\nHost: " + c.addr + "\r\n"
	cmd := generator(ctx, "nc", host, port)
	cmd.Stdin = strings.NewReader(strings.Repeat(request+"\r\n", requests-1) + request + "Connection: close\r\n\r\n")
	begin := time.Now()
	printed, err := cmd.Output()
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	if got := bytes.Count(printed, stars); got != requests {
		return 0, fmt.Errorf("%d of %d pipelined requests were answered", got, requests)
	}
	return float64(requests) / took.Seconds(), nil
}

func reportExperiment(r *record) section {
	t := newTable("system", "`"+newConnections+"`", "`"+keepAlive+"`", "`"+apacheBench+"`", "`nc`, 100 pipelined")
	var bars []bar
	for _, system := range r.systems(1, newConnections) {
		cells := []string{system}
		for _, client := range []string{newConnections, keepAlive, apacheBench, pipelined} {
			rates := r.of(1, client, system, rateMeasure)
			if median(rates) == 0 {
				cells = append(cells, "times out")
				continue
			}
			cells = append(cells, spread(rates))
		}
		t.add(cells...)
		bars = append(bars, bar{system, r.of(1, keepAlive, system, rateMeasure)})
	}
	return section{
		Text: `Requests a second for 10,000 ` + "`*`" + `: the median, and the first and the third quartile of ` +
			fmt.Sprint(len(r.of(1, keepAlive, stock, rateMeasure))) + ` runs, most of which take some milliseconds. Over one keep-alive connection, a server that writes header and body apart
and has Nagle's algorithm on waits 40 ms in each response for the client's delayed acknowledgement: ` + "`nodelay off`" + ` and Paste. ` +
			"`ab -k`" + ` and Paste wait for each other, as in 2009, since Paste has no HTTP/1.0 keep-alive. The rate of nc includes the start of the program.`,
		Tables:   []table{t},
		Pictures: []picture{{"2009", barsPicture("Requests a second over one keep-alive connection, 10,000 *", "req/s", bars)}},
	}
}
