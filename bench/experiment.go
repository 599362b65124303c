//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// The clients of 2009.
const (
	newConnections = "httperf --num-conn 100"
	keepAlive      = "httperf --num-call 100"
	apacheBench    = "ab -n 100 -k"
	pipelined      = "nc, 100 requests pipelined"
)

var experimentClients = []struct {
	name string
	rate func(ctx context.Context, c contender, requests int) (float64, error)
}{
	{newConnections, func(ctx context.Context, c contender, requests int) (float64, error) {
		return httperf(ctx, c, requests, "--num-conn")
	}},
	{keepAlive, func(ctx context.Context, c contender, requests int) (float64, error) {
		return httperf(ctx, c, requests, "--num-call")
	}},
	{apacheBench, ab},
	{pipelined, nc},
}

var experimentSystems = []string{nagle, stock, auto, on, off, "nginx", "HAProxy", "Apache httpd", "lighttpd", paste, pasteNoDelay}

// measureExperiment has the clients of 2009 ask for the payload of 2009.
func measureExperiment(ctx context.Context, b *bench) error {
	for _, client := range experimentClients {
		err := rounds(ctx, b.few(9, 1), b.pick(plain, experimentSystems...), func(c contender) error {
			rate, err := client.rate(ctx, c, b.few(100, 20))
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

// onOneCore prepares a client that stays on the first core, as the bursts do.
func onOneCore(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	first, _, err := cores()
	return lab.Command(ctx, "taskset", append([]string{"--cpu-list", strconv.Itoa(first), name}, args...)...), err
}

func httperf(ctx context.Context, c contender, requests int, of string) (rate float64, err error) {
	host, port, err := net.SplitHostPort(c.addr)
	if err != nil {
		return 0, err
	}
	cmd, err := onOneCore(ctx, "httperf", "--hog", "--server="+host, "--port="+port, "--uri=/", fmt.Sprint(of, "=", requests))
	if err != nil {
		return 0, err
	}
	text, err := lab.Output(cmd)
	if err != nil {
		return 0, err
	}
	if _, err := figure(text, fmt.Sprintf(`Reply status: 1xx=0 2xx=(%d) 3xx=0 4xx=0 5xx=0`, requests)); err != nil {
		return 0, err
	}
	return figure(text, `Request rate: (\S+) req/s`)
}

// ab returns no rate, zero, where the server and ab wait for each other: Paste does not
// answer HTTP/1.0 with keep-alive, as ab -k wants it.
func ab(ctx context.Context, c contender, requests int) (rate float64, err error) {
	cmd, err := onOneCore(ctx, "ab", fmt.Sprint("-n", requests), "-k", "-s1", "http://"+c.addr+"/")
	if err != nil {
		return 0, err
	}
	printed, err := cmd.CombinedOutput()
	text := string(printed)
	if err != nil && strings.Contains(text, "timeout specified has expired") {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, text)
	}
	if _, err := figure(text, `Failed requests: +(0)`); err != nil {
		return 0, err
	}
	return figure(text, `Requests per second: +(\S+)`)
}

// nc sends all requests at once and reads all responses. Its rate includes the start of
// the program.
func nc(ctx context.Context, c contender, requests int) (rate float64, err error) {
	host, port, err := net.SplitHostPort(c.addr)
	if err != nil {
		return 0, err
	}
	cmd, err := onOneCore(ctx, "nc", host, port)
	if err != nil {
		return 0, err
	}
	request := "GET / HTTP/1.1\r\nHost: " + c.addr + "\r\n"
	cmd.Stdin = strings.NewReader(strings.Repeat(request+"\r\n", requests-1) + request + "Connection: close\r\n\r\n")
	begin := time.Now()
	printed, err := cmd.Output()
	took := time.Since(begin)
	if err != nil {
		return 0, err
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
	for _, system := range r.systems(1, newConnections) {
		cells := []string{system}
		for _, client := range experimentClients {
			rates := r.of(1, client.name, system, rateMeasure)
			if lab.Median(rates) == 0 {
				cells = append(cells, "times out")
				continue
			}
			cells = append(cells, spread(rates))
		}
		t.add(cells...)
		bars = append(bars, bar{system, lab.Median(r.of(1, keepAlive, system, rateMeasure))})
	}
	return section{
		Text: fmt.Sprintf(`Requests a second for 10,000 %[1]s*%[1]s: the median, and the first and the third quartile of %[2]d runs, most of which take some
milliseconds. Over one keep-alive connection, a server that writes header and body apart and has Nagle's algorithm on waits 40 ms in
each response for the client's delayed acknowledgement: %[1]snodelay off%[1]s and Paste. %[1]sab -k%[1]s and Paste wait for each other, as in 2009,
since Paste has no HTTP/1.0 keep-alive. The rate of nc includes the start of the program.`, "`", len(r.of(1, keepAlive, stock, rateMeasure))),
		Tables:  []table{t},
		Picture: &picture{"2009", "Requests a second over one keep-alive connection, 10,000 *", bars},
	}
}
