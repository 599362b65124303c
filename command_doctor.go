package sockopt

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// exitFindings is the exit status of a doctor who found something.
const exitFindings = 2

func doctorCommand() *cobra.Command {
	var during time.Duration
	var admin string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [--during 10s] [--json] [--address ADDRESS]",
		Short: "Find what is wrong at a running Caddy, and how to repair it",
		Long: `Asks a running Caddy for its findings: GET /sockopt/findings of its admin API. Caddy
looks at counters and open connections twice, and compares. Each finding has the evidence,
what it costs, a fix, and how to see that it helped. Notes have no fix.

Exit status:
  0  nothing is wrong; there may be notes
  1  error
  2  there are findings`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.SilenceErrors = true // Caddy logs an error itself, and a finding is not an error
			return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
				return runDoctor(admin, during, asJSON)
			})(cmd, args)
		},
	}
	cmd.Flags().DurationVar(&during, "during", usualLook, "the time between the two looks, 60s at most")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer of the admin API")
	cmd.Flags().StringVar(&admin, "address", "", "address of the admin API; default: localhost:2019")
	return cmd
}

func runDoctor(admin string, during time.Duration, asJSON bool) (status int, err error) {
	if during < 0 || during > longestLook {
		return exitError, fmt.Errorf("--during %s is not a time from 0s to %s", during, longestLook)
	}
	var a findingsAnswer
	var answer []byte
	done := make(chan struct{})
	go func() {
		defer close(done)
		answer, err = askAdmin(admin, findingsPath+"?during="+during.String(), &a)
	}()
	countDown(during, done)
	if err != nil {
		return exitError, err
	}
	if asJSON {
		_, err = os.Stdout.Write(answer)
	} else {
		printFindings(os.Stdout, a)
	}
	switch {
	case err != nil:
		return exitError, err
	case len(a.Findings) > 0:
		return exitFindings, nil
	}
	return 0, nil
}

// countDown shows on a terminal how long it takes, until it is done.
func countDown(left time.Duration, done <-chan struct{}) {
	show := io.Discard
	if term.IsTerminal(int(os.Stderr.Fd())) {
		show = os.Stderr
	}
	for ; ; left -= time.Second {
		fmt.Fprintf(show, "%sCaddy looks at its sockets for %s", clearLine, max(0, left))
		select {
		case <-done:
			fmt.Fprint(show, clearLine)
			return
		case <-time.After(time.Second):
		}
	}
}

func printFindings(w io.Writer, a findingsAnswer) {
	at := a.LookedAt
	fmt.Fprintf(w, "Looked for %s at %d listeners, %d backends, %d UDP sockets and %d open connections: ",
		at.During, at.Listeners, at.Backends, at.UDPSockets, at.Connections)
	if len(a.Findings) == 0 {
		fmt.Fprintln(w, "nothing is wrong.")
	} else {
		fmt.Fprintf(w, "%d findings.\n", len(a.Findings))
	}
	for i, f := range slices.Concat(a.Findings, a.Notes) {
		kind := ""
		if i >= len(a.Findings) {
			kind = "note: "
		}
		where := cmp.Or(f.Upstream, f.Address)
		if f.Position != "" {
			where = strings.TrimPrefix(where+", "+f.Position, ", ")
		}
		fmt.Fprintf(w, "\n%s%s: server %s, %s\n  seen:  %s\n  costs: %s\n", kind, f.Name, f.Server, where, f.Evidence, f.Cost)
		if f.Fix != "" {
			fmt.Fprintf(w, "  fix:   %s\n", f.Fix)
		}
		fmt.Fprintf(w, "  then:  %s\n", f.Check)
	}
}
