package sockopt

import (
	"context"
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

// exitStall is the exit status of a probe that found a stall; 0 is none, 1 an error.
const exitStall = 2

// clearLine has a terminal begin its line again.
const clearLine = "\r\x1b[K"

func probeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "probe URL",
		Short: "Find out whether a server stalls, and why",
		Long: `Sends requests over HTTP/1.1 in six ways, of which each differs from another in
one thing, and says from their times whether the server stalls: because it holds
segments back (Nagle's algorithm), because it holds acknowledgements back (the
delayed ACK), or for another reason. It says before what it will send. Redirects
are reported, not followed.

Exit status: 0 no stall, 2 a stall, 1 an error.`,
		Example: "caddy sockopt probe http://localhost:8080/",
		Args:    cobra.ExactArgs(1),
		// Caddy logs an error itself, and a stall is none.
		SilenceErrors: true,
		RunE:          caddycmd.WrapCommandFuncForCobra(runProbe),
	}
	flags := cmd.Flags()
	flags.String("method", http.MethodGet, "the requests' method")
	flags.StringArray("header", nil, `a header field such as "Accept: text/html"; may repeat`)
	flags.Int("body-size", 0, "bytes in the requests' body")
	flags.Int("requests", 30, "timed requests in each experiment")
	flags.Duration("timeout", 10*time.Second, "for each connection and each request")
	flags.Bool("insecure", false, "take any certificate")
	flags.Bool("json", false, "print JSON")
	flags.String("svg", "", "draw the time of each request to this file")
	return cmd
}

func runProbe(flags caddycmd.Flags) (int, error) {
	header := make(http.Header)
	lines, err := flags.GetStringArray("header")
	if err != nil {
		return 1, err
	}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" || strings.ContainsAny(line, "\r\n") {
			return 1, fmt.Errorf(`header %q is not a name and a value, such as "Accept: text/html"`, line)
		}
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	o := probe.Options{
		URL:      flags.Arg(0),
		Method:   flags.String("method"),
		Header:   header,
		BodySize: flags.Int("body-size"),
		Requests: flags.Int("requests"),
		Timeout:  flags.Duration("timeout"),
		Insecure: flags.Bool("insecure"),
	}
	plan, err := o.Plan()
	if err != nil {
		return 1, err
	}
	fmt.Fprintf(os.Stderr, "Sending at most %d requests to %s, one connection at a time and %d in all.\n", plan.Requests, o.URL, plan.Connections)
	onTerminal := term.IsTerminal(int(os.Stderr.Fd()))
	if onTerminal {
		o.Progress = func(e probe.Experiment) { fmt.Fprintf(os.Stderr, "%sexperiment %d: %s", clearLine, e.Number, e.Name) }
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := probe.Run(ctx, o)
	if onTerminal {
		fmt.Fprint(os.Stderr, clearLine)
	}
	if err != nil {
		return 1, err
	}
	if flags.Bool("json") {
		err = writeJSON(os.Stdout, report)
	} else {
		err = report.Print(os.Stdout)
	}
	if file := flags.String("svg"); err == nil && file != "" {
		err = draw(report, file)
	}
	switch {
	case err != nil:
		return 1, err
	case report.Verdict.Stalls():
		return exitStall, nil
	}
	return 0, nil
}

func draw(report *probe.Report, file string) error {
	f, err := os.Create(file) //nolint:gosec // the file that the user names
	if err != nil {
		return err
	}
	if err := report.SVG(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
