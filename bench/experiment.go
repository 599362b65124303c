//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// experimentClient is a client of 2009.
type experimentClient struct {
	name    string
	command string // with address, port and number of requests
	done    string // the pattern of what it prints when all were answered
	rate    string // the pattern of their rate; that of nc is measured
}

const (
	keepAlive = "httperf --num-call 100"
	pipelined = "nc, 100 requests pipelined"
)

const httperf = "httperf --hog --server=%[1]s --port=%[2]d "

var experimentClients = []experimentClient{
	{"httperf --num-conn 100", httperf + "--num-conn=%[3]d", `1xx=0 2xx=(%d) 3xx=0 4xx=0 5xx=0`, `Request rate: (\S+) req/s`},
	{keepAlive, httperf + "--num-call=%[3]d", `1xx=0 2xx=(%d) 3xx=0 4xx=0 5xx=0`, `Request rate: (\S+) req/s`},
	{"ab -n 100 -k", "ab -n %[3]d -k -s1 http://%[1]s:%[2]d/", `Complete requests: +(%d)\nFailed requests: +0\n`, `Requests per second: +(\S+)`},
	{pipelined, "nc %[1]s %[2]d", "", ""},
}

var experimentSystems = []string{nagle, stock, auto, on, off, "nginx", "HAProxy", "Apache httpd", "lighttpd", paste, pasteNoDelay}

// measureExperiment has the clients of 2009 ask for the payload of 2009.
func measureExperiment(ctx context.Context, b *bench) error {
	for _, client := range experimentClients {
		ask := func(c contender) error {
			rate, err := client.ask(ctx, c, b.few(100, 20))
			if err == nil {
				b.add(1, client.name, c.system, rateMeasure, rate)
			}
			return err
		}
		err := onCore(false, func() error { return rounds(ctx, b.few(9, 1), b.pick(plain, experimentSystems...), ask) })
		if err != nil {
			return fmt.Errorf("%s: %w", client.name, err)
		}
	}
	return nil
}

// ask returns the requests a second, which are zero where the server and ab wait for each
// other: Paste does not answer HTTP/1.0 with keep-alive, as ab -k wants it.
func (e experimentClient) ask(ctx context.Context, c contender, requests int) (rate float64, err error) {
	command := strings.Fields(fmt.Sprintf(e.command, lab.Loopback, c.port, requests))
	cmd := lab.Command(ctx, command[0], command[1:]...)
	const request = "GET / HTTP/1.1\r\nHost: " + lab.Loopback + "\r\n"
	// Only nc reads this. Its rate includes the start of the program.
	cmd.Stdin = strings.NewReader(strings.Repeat(request+"\r\n", requests-1) + request + "Connection: close\r\n\r\n")
	begin := time.Now()
	printed, err := cmd.CombinedOutput()
	took := time.Since(begin)
	text := string(printed)
	switch {
	case strings.Contains(text, "The timeout specified has expired"):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("%s: %w: %s", cmd, err, text)
	case e.name != pipelined:
		if _, err := figure(text, fmt.Sprintf(e.done, requests)); err != nil {
			return 0, err
		}
		return figure(text, e.rate)
	}
	if got := bytes.Count(printed, lab.Stars); got != requests {
		return 0, fmt.Errorf("%d of %d pipelined requests were answered", got, requests)
	}
	return float64(requests) / took.Seconds(), nil
}

// figure returns the number that the pattern's group finds in an output.
func figure(text, pattern string) (float64, error) {
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if match == nil {
		return 0, fmt.Errorf("no %q in:\n%s", pattern, text)
	}
	return strconv.ParseFloat(match[1], 64)
}

func reportExperiment(r *record) section {
	header := []string{"system"}
	for _, client := range experimentClients {
		header = append(header, "`"+client.name+"`")
	}
	t := newTable(header...)
	var bars []bar
	for _, system := range r.systems(1, keepAlive, rateMeasure) {
		cells := []string{system}
		for _, client := range experimentClients {
			rates := r.Of(1, client.name, system, rateMeasure)
			if lab.Median(rates) == 0 {
				cells = append(cells, "times out")
				continue
			}
			cells = append(cells, spread(rates))
		}
		t.Row(cells...)
		bars = append(bars, bar{system, lab.Median(r.Of(1, keepAlive, system, rateMeasure))})
	}
	return section{
		Tables:  []table{t},
		Picture: &picture{"2009", "Requests a second over one keep-alive connection, 10,000 *", bars},
	}
}
