// Package probe finds out whether a server stalls, and whose fault it is: it makes
// controlled experiments over HTTP/1.1, each of which differs from another in one
// thing.
//
// It sends to one server, over one connection at a time, a bounded number of
// requests. It is no load tool.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options are what to ask for, and how often.
type Options struct {
	URL      string        // http or https
	Method   string        // default: GET
	Header   http.Header   // beside Host, User-Agent and Content-Length
	BodySize int           // bytes; a request without a body is sent in pieces all the same
	Requests int           // of each experiment, after the warm-up; default: 30
	Timeout  time.Duration // of each connection and each request; default: 10s
	Insecure bool          // take any certificate

	// Progress is called before each experiment, if it is set.
	Progress func(Experiment)
}

const (
	defaultRequests = 30
	defaultTimeout  = 10 * time.Second

	// MostRequests bounds the requests of a run, warm-ups and all.
	MostRequests = 10_000

	// warmUp is how many requests a connection has had before any is timed: Linux
	// acknowledges the first 16 segments of a connection at once.
	warmUp = 20

	// budget bounds the time of an experiment, whose requests may be slow.
	budget = 10 * time.Second

	// fewest is how many requests an experiment has at the least, in spite of budget.
	fewest = 5

	// userAgent is the probe's name in the server's log.
	userAgent = "caddy-sockopt-probe"
)

// Plan is what a run will send, at the most.
type Plan struct {
	Requests    int
	Connections int
}

// Plan says what a run with these options will send. Connections that the server
// closes are opened again, for the requests that are left.
//
// Errors name what is wrong with the options.
func (o Options) Plan() (Plan, error) {
	o, _, err := o.complete()
	if err != nil {
		return Plan{}, err
	}
	return o.plan(), nil
}

func (o Options) plan() (p Plan) {
	for _, e := range experiments {
		p.Requests += o.Requests
		p.Connections++
		if e.newConns {
			p.Connections += o.Requests - 1
		} else {
			p.Requests += warmUp
		}
	}
	return p
}

// complete fills in the defaults.
func (o Options) complete() (Options, *url.URL, error) {
	target, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return o, nil, err
	case target.Scheme != "http" && target.Scheme != "https" || target.Hostname() == "":
		return o, nil, fmt.Errorf("%q is not a URL such as http://localhost:8080/path", o.URL)
	}
	if o.Method == "" {
		o.Method = http.MethodGet
	}
	if strings.Trim(o.Method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") != "" {
		return o, nil, fmt.Errorf("method %q is not one such as GET", o.Method)
	}
	if o.Requests == 0 {
		o.Requests = defaultRequests
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	switch {
	case o.Requests < fewest:
		return o, nil, fmt.Errorf("%d requests are too few to tell; at least %d", o.Requests, fewest)
	case o.plan().Requests > MostRequests:
		return o, nil, fmt.Errorf("%d requests an experiment are %d in all; at most %d", o.Requests, o.plan().Requests, MostRequests)
	case o.Timeout < 0:
		return o, nil, fmt.Errorf("timeout %v is not more than 0", o.Timeout)
	case o.BodySize < 0 || o.BodySize > mostBytes:
		return o, nil, fmt.Errorf("body size %d is not from 0 to %d", o.BodySize, mostBytes)
	}
	return o, target, nil
}

// Run makes the experiments and judges them.
//
// Errors: the server cannot be reached, does not answer within the timeout, or does
// not speak HTTP/1.x; the options are wrong; or ctx is done.
func Run(ctx context.Context, o Options) (*Report, error) {
	o, target, err := o.complete()
	if err != nil {
		return nil, err
	}
	r := &Report{URL: o.URL, Method: o.Method}
	c := newClient(o, target)
	closes := false // so that what it does to a request in pieces is not an error
	for _, e := range experiments {
		if o.Progress != nil {
			o.Progress(e)
		}
		result := c.run(ctx, e)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(result.err, errCloses):
			closes = true
		case result.err == nil, errors.Is(result.err, errors.ErrUnsupported), e.mayFail, closes:
		default:
			return nil, fmt.Errorf("experiment %d, %s: %w", e.Number, e.Name, result.err)
		}
		r.Experiments = append(r.Experiments, result)
	}
	r.Status, r.Location, r.Server = c.status, c.location, c.server
	r.judge()
	return r, nil
}
