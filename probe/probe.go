// Package probe finds out whether a server stalls, and on which side. It sends requests
// over HTTP/1.1 or HTTP/2 in several experiments. Each differs from another in one thing.
//
// It sends a bounded number of requests to one server, over one connection at a time. It is not a load tool.
package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Options say what to request, and how often.
type Options struct {
	URL      string        // http or https; a user and a password are sent as Authorization
	Method   string        // default: GET
	Header   http.Header   // beside Host, User-Agent and Content-Length
	BodySize int           // bytes; a request without a body is sent in pieces as well
	Requests int           // of each experiment, after the warm-up; default: 30
	Timeout  time.Duration // of each connection and each request; default: 10s
	Budget   time.Duration // of the whole run; default: 60s
	Insecure bool          // accept any certificate

	// HTTP1 and HTTP2 choose the version. Without them http is HTTP/1.1 and https is
	// what the server chooses by ALPN. HTTP2 over http is h2c with prior knowledge.
	HTTP1, HTTP2 bool

	target *url.URL // what URL is

	// Progress is called before each experiment, if it is set.
	Progress func(Experiment)
}

const (
	// MostRequests bounds the requests of a run, including warm-ups.
	MostRequests = 10_000

	// MostSent bounds the bytes of all request bodies of a run.
	MostSent = 1 << 30

	// warmUp is how many requests a connection serves before any is timed: Linux
	// acknowledges the first 16 segments of a connection at once.
	warmUp = 20

	// warmWaits is how many requests in a row end the warm-up that waited for a timer.
	warmWaits = 3

	// fresh is how many new connections are timed from their handshake. Each waits, or none.
	fresh = 10

	// fewest is the smallest number of requests that an experiment can be asked for.
	fewest = 5

	// paused is how many requests wait for a pause. They need no warm-up.
	paused = 8

	// mostPause bounds a pause.
	mostPause = 500 * time.Millisecond

	// userAgent is the probe's name in the server's log.
	userAgent = "caddy-sockopt-probe"
)

var errBudget = errors.New("the time of the run was used up; --budget gives it more")

// Plan is the most that a run will send.
type Plan struct {
	URL         string // without user and password
	Requests    int
	Connections int
	Bytes       int64 // in the bodies of all requests
}

// Plan says what a run with these options will send. If the server closes connections, the run opens as many again.
//
// Errors name the option that is wrong.
func (o Options) Plan() (Plan, error) {
	o, err := o.complete()
	if err != nil {
		return Plan{}, err
	}
	return o.plan(), nil
}

func (o Options) plan() Plan {
	p := Plan{URL: shown(o.target)}
	for _, e := range o.experiments() {
		p.Requests += e.warmUp + o.count(e)
		p.Connections++
		if e.newConns {
			p.Connections += o.count(e) - 1
		}
	}
	p.Bytes = int64(p.Requests) * int64(o.BodySize)
	return p
}

// experiments are those that a run may make.
func (o Options) experiments() []Experiment {
	return slices.DeleteFunc(slices.Clone(experiments), func(e Experiment) bool { return e.fresh && o.target.Scheme != "https" })
}

// count is how many requests of an experiment are timed.
func (o Options) count(e Experiment) int { return min(o.Requests, cmp.Or(e.most, o.Requests)) }

// complete checks the options and fills in the defaults.
func (o Options) complete() (Options, error) {
	var err error
	o.target, err = url.Parse(o.URL)
	if err != nil || o.target.Scheme != "http" && o.target.Scheme != "https" || o.target.Hostname() == "" {
		given := fmt.Sprintf("%.300q", o.URL)
		if strings.Contains(o.URL, "@") {
			given = "the URL, not printed because it may have a password,"
		}
		return o, fmt.Errorf("%s is not a URL such as http://localhost:8080/path", given)
	}
	o.Method = cmp.Or(o.Method, http.MethodGet)
	o.Requests = cmp.Or(o.Requests, 30)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.Budget = cmp.Or(o.Budget, time.Minute)
	if strings.Trim(o.Method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") != "" {
		return o, fmt.Errorf("method %.300q is not one such as GET", o.Method)
	}
	switch {
	case o.Requests < fewest:
		return o, fmt.Errorf("%d requests are too few; at least %d", o.Requests, fewest)
	case o.Requests > MostRequests || o.plan().Requests > MostRequests:
		return o, fmt.Errorf("%d requests in each experiment are more than the %d that a run may send in all", o.Requests, MostRequests)
	case o.Timeout < 0:
		return o, fmt.Errorf("timeout %v is negative", o.Timeout)
	case o.Budget < 0:
		return o, fmt.Errorf("budget %v is negative", o.Budget)
	case o.BodySize < 0 || o.BodySize > mostBody:
		return o, fmt.Errorf("body size %d is not from 0 to %d", o.BodySize, mostBody)
	case o.plan().Bytes > MostSent:
		return o, fmt.Errorf("%d requests with bodies of %d bytes are %d bytes in all, of which a run may send %d; choose fewer requests or a smaller body",
			o.plan().Requests, o.BodySize, o.plan().Bytes, MostSent)
	case o.HTTP1 && o.HTTP2:
		return o, errors.New("choose HTTP/1.1 or HTTP/2, not both")
	}
	return o, checkFields(o.Header)
}

// checkFields refuses what would not be sent as it is, and what decides how long a
// request or a connection is, since the experiments do.
func checkFields(header http.Header) error {
	for name, values := range header {
		switch name := http.CanonicalHeaderKey(name); {
		case !httpguts.ValidHeaderFieldName(name):
			return fmt.Errorf("header %.300q is not a field's name: it may have letters, digits and !#$%%&'*+-.^_`|~", name)
		case slices.Contains([]string{"Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Transfer-Encoding", "Upgrade"}, name):
			return fmt.Errorf("header %s is the probe's own: its experiments differ in the connections, and --body-size is the length of a body; leave it out", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) || name == "Host" && !httpguts.ValidHostHeader(value) {
				return fmt.Errorf("header %s has a value with a character that cannot be sent", name)
			}
		}
	}
	return nil
}

// shown is a URL as it may be printed.
func shown(u *url.URL) string {
	public := *u
	public.User = nil
	return printable(public.String())
}

// Run makes the experiments and judges them.
//
// A run whose budget ends reports what it measured until then.
//
// Errors: the server cannot be reached, does not answer within the timeout, sends too
// much, or does not speak HTTP; the options are wrong; or ctx is done.
func Run(ctx context.Context, o Options) (*Report, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	parent := ctx
	deadline := time.Now().Add(o.Budget)
	ctx, cancel := context.WithDeadlineCause(ctx, deadline, errBudget)
	defer cancel()
	r := &Report{URL: shown(o.target), Method: o.Method}
	c := newClient(o, deadline)
	closes := false // what such a server does to a request in pieces is not an error
	planned := o.experiments()
	for i, e := range planned {
		if e.paused && !r.waits() {
			continue
		}
		c.pause = r.pause()
		if o.Progress != nil {
			o.Progress(e)
		}
		c.until = time.Now().Add(time.Until(deadline) / time.Duration(len(planned)-i))
		result := Result{Experiment: e}
		result.err = c.measure(ctx, &result)
		switch {
		case parent.Err() != nil:
			return nil, parent.Err()
		case ctx.Err() != nil, !time.Now().Before(deadline):
			if c.protocol == "" || r.Experiments == nil && len(result.Seconds) == 0 {
				return nil, fmt.Errorf("no answer within the budget of %v", o.Budget)
			}
			result.err = errBudget
		case errors.Is(result.err, errCloses):
			closes = true
		case result.err == nil, errors.Is(result.err, errors.ErrUnsupported), (e.mayFail || closes) && !errors.Is(result.err, errTooLong):
		default:
			err := c.hint(ctx, fmt.Errorf("experiment %d, %s: %w", e.Number, e.Name, result.err))
			return nil, errors.New(printable(err.Error())) // it may come from the network
		}
		r.Path = c.path()
		result.sum(o.count(e))
		r.Experiments = append(r.Experiments, result)
		if c.status == http.StatusBadRequest && closes {
			if err := c.hint(ctx, nil); err != nil {
				return nil, err
			}
		}
	}
	r.Status, r.Location, r.Server, r.Protocol = c.status, printable(c.location), printable(c.server), c.protocol
	r.judge()
	r.advise(o.target, o.Insecure)
	return r, nil
}
