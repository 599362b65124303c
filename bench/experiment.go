//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// experimentClient is a client of 2009.
type experimentClient struct {
	name    string
	command string // with host, port and number of requests
	done    string // the pattern of what it prints when all were answered
	rate    string // the pattern of their rate; that of nc is measured
}

const (
	keepAlive = "httperf --num-call 100"
	pipelined = "nc, 100 requests pipelined"
)

var experimentClients = []experimentClient{
	{
		"httperf --num-conn 100", "httperf --hog --server=%[2]s --port=%[3]s --num-conn=%[4]d",
		`1xx=0 2xx=(%d) 3xx=0 4xx=0 5xx=0`, `Request rate: (\S+) req/s`,
	},
	{
		keepAlive, "httperf --hog --server=%[2]s --port=%[3]s --num-call=%[4]d",
		`1xx=0 2xx=(%d) 3xx=0 4xx=0 5xx=0`, `Request rate: (\S+) req/s`,
	},
	{
		"ab -n 100 -k", "ab -n %[4]d -k -s1 http://%[2]s:%[3]s/",
		`Complete requests: +(%d)\nFailed requests: +0\n`, `Requests per second: +(\S+)`,
	},
	{pipelined, "nc %[2]s %[3]s", "", ""},
}

var experimentSystems = []string{nagle, stock, auto, on, off, "nginx", "HAProxy", "Apache httpd", "lighttpd", paste, pasteNoDelay}

// measureExperiment has the clients of 2009 ask for the payload of 2009.
func measureExperiment(ctx context.Context, b *bench) error {
	for _, client := range experimentClients {
		err := rounds(ctx, b.few(9, 1), b.pick(plain, experimentSystems...), func(c contender) error {
			rate, err := client.ask(ctx, c, b.few(100, 20))
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

// ask returns the requests a second, which are zero where the server and ab wait for each
// other: Paste does not answer HTTP/1.0 with keep-alive, as ab -k wants it.
func (e experimentClient) ask(ctx context.Context, c contender, requests int) (rate float64, err error) {
	first, _, err := cores()
	if err != nil {
		return 0, err
	}
	// It stays on the first core, as the bursts do.
	command := fmt.Sprintf("--cpu-list %d "+e.command, first, lab.Loopback, lab.PortOf(c.addr), requests)
	cmd := lab.Command(ctx, "taskset", strings.Fields(command)...)
	if e.name == pipelined {
		return ncRate(cmd, c, requests)
	}
	printed, err := cmd.CombinedOutput()
	text := string(printed)
	if strings.Contains(text, "apr_pollset_poll: The timeout specified has expired") {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", cmd, err, text)
	}
	if _, err := figure(text, fmt.Sprintf(e.done, requests)); err != nil {
		return 0, err
	}
	return figure(text, e.rate)
}

// ncRate has nc send all requests at once and read all responses. The rate includes the
// start of the program.
func ncRate(cmd *exec.Cmd, c contender, requests int) (rate float64, err error) {
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
	for _, system := range r.systems(1, keepAlive) {
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
