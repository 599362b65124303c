package sockopt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-sockopt/caddy-sockopt/probe"
)

// The exit status of a probe is 0 without a stall, or one of these.
const (
	exitError = 1
	exitStall = 2 // ordinary requests wait
	exitNagle = 3 // only clients with Nagle's algorithm on do
)

// clearLine makes a terminal begin its line again.
const clearLine = "\r\x1b[K"

func probeCommand() *cobra.Command {
	p := probing{Options: probe.Options{Header: make(http.Header)}}
	cmd := &cobra.Command{
		Use:   "probe URL",
		Short: "Find out whether a server stalls, and why",
		Long: `Sends requests over HTTP/1.1 or HTTP/2 in several ways, each of which differs from
another in one thing, and says from their times whether the server stalls: because it
holds segments back (Nagle's algorithm), because it holds acknowledgements back (the
delayed ACK), because a backend behind it does, or whether it is slow for another
reason. Before it starts, it prints what it will send. Redirects are reported, not followed. A user
and a password in the URL are sent as Authorization and never printed.

Exit status:
  0  no request waits for a timer
  1  error, or too few measurements to tell
  2  ordinary requests wait for a timer
  3  only clients with Nagle's algorithm on wait: on every new HTTPS connection, or
     when they send a request in pieces; this is how most servers are
With --compare it is the worse of both: 1, then 2, then 3.`,
		Example: "caddy sockopt probe http://localhost:8080/",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("give one URL, not %d; --compare takes a second\n\n%s", len(args), cmd.UsageString())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceErrors = true // Caddy logs an error itself, and a stall is not an error
			return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return p.run(args[0]) })(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&p.compare, "compare", "", "probe this URL as well, and print both side by side")
	flags.StringVar(&p.Method, "method", http.MethodGet, "the requests' method")
	flags.StringArrayVar(&p.headers, "header", nil, `a header field such as "Accept: text/html"; may repeat`)
	flags.IntVar(&p.BodySize, "body-size", 0, "bytes in the requests' body")
	flags.IntVar(&p.Requests, "requests", 30, "timed requests in each experiment")
	flags.DurationVar(&p.Timeout, "timeout", 10*time.Second, "for each connection and each request")
	flags.DurationVar(&p.Budget, "budget", time.Minute, "for the whole run; what is measured until then is reported")
	flags.BoolVar(&p.Insecure, "insecure", false, "accept any certificate")
	flags.BoolVar(&p.HTTP1, "http1", false, "HTTP/1.1 over https, whatever the server prefers")
	flags.BoolVar(&p.HTTP2, "http2", false, "HTTP/2: over http with prior knowledge (h2c)")
	flags.BoolVar(&p.json, "json", false, "print JSON, with --compare an array of both reports")
	flags.StringVar(&p.svg, "svg", "", "draw the time of each request to this file")
	return cmd
}

// probing is what the flags of the command say.
type probing struct {
	probe.Options
	compare, svg string
	headers      []string
	json         bool
}

func (p *probing) run(url string) (int, error) {
	if err := p.check(); err != nil {
		return exitError, err
	}
	urls := []string{url}
	if p.compare != "" {
		urls = append(urls, p.compare)
		p.Budget /= 2
	}
	var names []string // without user and password
	for _, url := range urls {
		p.URL = url
		plan, err := p.Plan()
		if err != nil {
			return exitError, err
		}
		bodies := ""
		if plan.Bytes > 0 {
			bodies = fmt.Sprintf(" with %d bytes in all bodies", plan.Bytes)
		}
		fmt.Fprintf(os.Stderr, "Sending at most %d requests%s to %s, one connection at a time and %d in all.\n",
			plan.Requests, bodies, plan.URL, plan.Connections)
		names = append(names, plan.URL)
	}
	onTerminal := term.IsTerminal(int(os.Stderr.Fd()))
	if onTerminal {
		p.Progress = func(e probe.Experiment) { fmt.Fprintf(os.Stderr, "%sexperiment %d: %s", clearLine, e.Number, e.Name) }
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var reports []*probe.Report
	var failed error // the results of one URL are printed where the other has none
	for i := 0; i < len(urls) && ctx.Err() == nil; i++ {
		p.URL = urls[i]
		report, err := probe.Run(ctx, p.Options)
		if onTerminal {
			fmt.Fprint(os.Stderr, clearLine)
		}
		switch {
		case err == nil:
			reports = append(reports, report)
		case ctx.Err() != nil:
			failed = errors.Join(failed, errors.New("interrupted before the end of the run"))
		default:
			failed = errors.Join(failed, fmt.Errorf("%s: %w", names[i], err))
		}
	}
	if len(reports) == 0 {
		return exitError, failed
	}
	var err error
	switch {
	case !p.json:
		err = probe.Print(os.Stdout, reports...)
	case len(urls) == 1:
		err = writeJSON(os.Stdout, reports[0])
	default:
		err = writeJSON(os.Stdout, reports)
	}
	if err == nil && p.svg != "" {
		var drawing bytes.Buffer
		if err = probe.SVG(&drawing, reports...); err == nil {
			err = os.WriteFile(p.svg, drawing.Bytes(), 0o666) //nolint:gosec // the file that the user names
		}
	}
	if err = errors.Join(failed, err); err != nil {
		return exitError, err
	}
	return exitStatus(reports), nil
}

// check returns the first mistake among the flags. A zero in probe.Options means the default. A
// zero on the command line is a mistake.
func (p *probing) check() error {
	switch {
	case p.Requests == 0:
		return errors.New("--requests 0 would measure nothing")
	case p.Timeout == 0:
		return errors.New("--timeout 0 leaves no time for an answer")
	case p.Budget == 0:
		return errors.New("--budget 0 leaves no time for the run")
	}
	for _, line := range p.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return errors.New(`a --header is not a name and a value, such as "Accept: text/html"`)
		}
		p.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return nil
}

// exitStatus is that of the worst report.
func exitStatus(reports []*probe.Report) (status int) {
	for _, r := range reports {
		switch {
		case r.Verdict == probe.Unclear:
			return exitError
		case r.Verdict.Waits():
			status = exitStall
		case r.Verdict.WaitsWithNagle() && status == 0:
			status = exitNagle
		}
	}
	return status
}
