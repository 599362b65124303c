package sockopt

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

func connectionsCommand() *cobra.Command {
	var watch time.Duration
	var sort, admin string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "connections [--watch 2s] [--sort FIELD] [--json] [--address ADDRESS]",
		Short: "Show the open connections of a running Caddy, and what limits each",
		Long: `Asks a running Caddy for its open connections, accepted and dialed, that have the
wrapper or the transport: GET /sockopt/connections of its admin API. It prints a table with
totals by server and upstream on top. On a terminal it leaves out the columns that do not fit.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			address, err := caddycmd.DetermineAdminAPIAddress(admin, nil, "", "")
			if err != nil {
				return err
			}
			uri := connectionsPath
			if sort != "" {
				query := url.Values{"sort": {sort}}
				if _, err := parseConnectionsQuery(query); err != nil {
					return fmt.Errorf("--%w", err)
				}
				uri += "?" + query.Encode()
			}
			if watch < 0 || asJSON && watch > 0 {
				return errors.New("--watch takes a time such as 2s, and goes without --json")
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return watchConnections(ctx, cmd.OutOrStdout(), address, uri, watch, asJSON)
		},
	}
	cmd.Flags().DurationVar(&watch, "watch", 0, "show them again after this time, until Ctrl-C")
	cmd.Flags().StringVar(&sort, "sort", "", "show those first that have most of this, such as rtt or notsent_bytes")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer of the admin API")
	cmd.Flags().StringVar(&admin, "address", "", "address of the admin API; default: localhost:2019")
	return cmd
}

// watchConnections prints the connections, once or until ctx ends.
func watchConnections(ctx context.Context, w io.Writer, address, uri string, every time.Duration, asJSON bool) error {
	width := terminalWidth(w)
	for {
		answer, err := askAdmin(ctx, address, uri)
		var peers []byte
		if err == nil && !asJSON {
			peers, err = askAdmin(ctx, address, peersPath)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case asJSON:
			_, err := w.Write(answer)
			return err
		}
		var page bytes.Buffer
		if every > 0 && width > 0 {
			page.WriteString("\x1b[H\x1b[2J") // to the first line, and clear
		}
		if err := printConnections(&page, answer, peers, width); err != nil {
			return err
		}
		if _, err := w.Write(page.Bytes()); err != nil || every == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// terminalWidth returns the columns of the terminal that w is, or 0 where it is none.
func terminalWidth(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd())) //nolint:gosec // a descriptor is an int
	if err != nil {
		return 0
	}
	return width
}

// askAdmin asks an endpoint of ours. Its errors say what to do.
func askAdmin(ctx context.Context, address, uri string) (answer []byte, err error) {
	type result struct {
		answer []byte
		err    error
	}
	done := make(chan result, 1) // AdminAPIRequest takes no context
	go func() {
		resp, err := caddycmd.AdminAPIRequest(address, http.MethodGet, uri, nil, nil)
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		done <- result{answer, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r.err == nil {
		return r.answer, nil
	}
	// AdminAPIRequest keeps nothing of an error but its text.
	text, endpoint := r.err.Error(), strings.SplitN(uri, "?", 2)[0]
	switch {
	case strings.Contains(text, "HTTP 404"):
		return nil, fmt.Errorf("the Caddy at %s has no %s: it has no caddy-sockopt, or an older one", address, endpoint)
	case strings.Contains(text, "HTTP 403"):
		return nil, fmt.Errorf("the admin API at %s does not let this command ask: %w; run it on the same machine", address, r.err)
	case !strings.Contains(text, "HTTP 4"):
		return nil, fmt.Errorf("nobody answers at %s: Caddy does not run, its admin API is off, or it is elsewhere (--address): %w", address, r.err)
	}
	return nil, r.err
}

// connectionsAnswer is the answer of GET /sockopt/connections.
type connectionsAnswer struct {
	Matched     int                `json:"matched"`
	Totals      []connectionTotals `json:"totals"`
	Connections []connectionAnswer `json:"connections"`
}

type connectionAnswer struct {
	stats.Place
	Peer       netip.AddrPort `json:"peer"`
	LimitedBy  stats.Limit    `json:"limited_by"`
	Congestion string         `json:"congestion"`
	QuickAck   socket.Learned `json:"quickack"`

	RTT          *float64 `json:"rtt"`
	Retrans      *float64 `json:"total_retrans"`
	Window       *float64 `json:"snd_cwnd"`
	Unsent       *float64 `json:"notsent_bytes"`
	Acked        *float64 `json:"bytes_acked"`
	Received     *float64 `json:"bytes_received"`
	LastSent     *float64 `json:"last_data_sent"`
	LastReceived *float64 `json:"last_data_recv"`
}

// connectionColumns are the columns of the table, the most useful first: a narrow terminal shows
// fewer.
var connectionColumns = []struct {
	title string
	of    func(c *connectionAnswer) string
}{
	{"PEER", func(c *connectionAnswer) string { return c.Peer.String() }},
	{"LIMITED BY", func(c *connectionAnswer) string { return string(c.LimitedBy) }},
	{"RTT", func(c *connectionAnswer) string { return inMilliseconds(c.RTT) }},
	{"UNSENT", func(c *connectionAnswer) string { return inBytes(c.Unsent) }},
	{"RETRANS", func(c *connectionAnswer) string { return inNumbers(c.Retrans) }},
	{"QUICKACK", func(c *connectionAnswer) string { return c.QuickAck.State }},
	{"STALLS", func(c *connectionAnswer) string { return fmt.Sprint(c.QuickAck.Stalls) }},
	{"SENT", func(c *connectionAnswer) string { return inBytes(c.Acked) }},
	{"RECEIVED", func(c *connectionAnswer) string { return inBytes(c.Received) }},
	{"IDLE", func(c *connectionAnswer) string { return idle(c.LastSent, c.LastReceived) }},
	{"CWND", func(c *connectionAnswer) string { return inNumbers(c.Window) }},
	{"CONGESTION", func(c *connectionAnswer) string { return c.Congestion }},
	{"DIRECTION", func(c *connectionAnswer) string { return string(c.Direction) }},
	{"SERVER", func(c *connectionAnswer) string { return c.Server }},
}

// unknown stands for what the kernel does not say.
const unknown = "-"

func inMilliseconds(seconds *float64) string {
	if seconds == nil {
		return unknown
	}
	return humanize.FtoaWithDigits(*seconds*1e3, 2) + "ms"
}

func inBytes(n *float64) string {
	if n == nil {
		return unknown
	}
	return humanize.IBytes(uint64(*n))
}

func inNumbers(n *float64) string {
	if n == nil {
		return unknown
	}
	return humanize.Ftoa(*n)
}

func idle(sent, received *float64) string {
	if sent == nil || received == nil {
		return unknown
	}
	return time.Duration(min(*sent, *received) * float64(time.Second)).Round(time.Millisecond).String()
}

// printConnections prints totals and a table that fits width, or all of it where that is 0.
func printConnections(w io.Writer, answer, peers []byte, width int) error {
	var a connectionsAnswer
	var waiting peersAnswer
	if err := cmp.Or(json.Unmarshal(answer, &a), json.Unmarshal(peers, &waiting)); err != nil {
		return fmt.Errorf("the answer of the admin API is not what was expected; is that Caddy older or newer? %w", err)
	}
	totals := [][]string{{"SERVER", "WHERE", "CONNECTIONS", "LIMITED BY"}}
	for _, t := range a.Totals {
		var limits []string
		for _, limit := range stats.Limits {
			if n := t.LimitedBy[limit]; n > 0 {
				limits = append(limits, fmt.Sprintf("%s %d", limit, n))
			}
		}
		where := t.Address
		if t.Direction == stats.Dialed {
			where = "to " + t.Upstream
		}
		totals = append(totals, []string{t.Server, where, fmt.Sprint(t.Connections), strings.Join(limits, ", ")})
	}
	rows := [][]string{nil}
	for _, column := range connectionColumns {
		rows[0] = append(rows[0], column.title)
	}
	for i := range a.Connections {
		var row []string
		for _, column := range connectionColumns {
			row = append(row, column.of(&a.Connections[i]))
		}
		rows = append(rows, row)
	}
	if err := printTable(w, totals, width); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := printTable(w, rows, width); err != nil {
		return err
	}
	if hidden := a.Matched - len(a.Connections); hidden > 0 {
		fmt.Fprintf(w, "and %d more; the admin API shows them with limit=0\n", hidden)
	}
	if len(waiting.Peers) == 0 {
		return nil
	}
	rows = [][]string{{"PEER THAT WAITS", "COUNT", "KIND", "LAST", "SERVER"}}
	for _, p := range waiting.Peers[:min(len(waiting.Peers), shownPeers)] {
		peer := p.Peer.String()
		if p.Peer.IsSingleIP() {
			peer = p.Peer.Addr().String()
		}
		rows = append(rows, []string{peer, fmt.Sprint(p.Count), string(p.Kind), humanize.Time(p.Last), p.Server})
	}
	fmt.Fprintln(w)
	return printTable(w, rows, width)
}

// shownPeers is how many of the peers that wait the command prints.
const shownPeers = 10

// printTable prints rows with as many columns as fit.
func printTable(w io.Writer, rows [][]string, width int) error {
	columns := len(rows[0])
	if width > 0 {
		const gap = 2
		used := -gap
		for i := range rows[0] {
			longest := 0
			for _, row := range rows {
				longest = max(longest, len(row[i]))
			}
			if used += gap + longest; used > width {
				columns = max(i, 1)
				break
			}
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.TrimRight(strings.Join(slices.Clone(row[:columns]), "\t"), "\t"))
	}
	return t.Flush()
}
