package sockopt

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
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
			for {
				if err := showOpen(admin, uri, asJSON, watch > 0); err != nil || watch == 0 {
					return err
				}
				time.Sleep(watch)
			}
		},
	}
	cmd.Flags().DurationVar(&watch, "watch", 0, "show them again after this time, until Ctrl-C")
	cmd.Flags().StringVar(&sort, "sort", "", "show those first that have most of this, such as rtt or notsent_bytes")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer of the admin API")
	cmd.Flags().StringVar(&admin, "address", "", "address of the admin API; default: localhost:2019")
	return cmd
}

// showOpen prints the open connections, where it does so again on a cleared terminal.
func showOpen(admin, uri string, asJSON, again bool) error {
	var open connectionsAnswer
	var waiting peersAnswer
	answer, err := askAdmin(admin, uri, &open)
	page := bytes.NewBuffer(answer)
	if err == nil && !asJSON {
		page = new(bytes.Buffer)
		width, _, _ := term.GetSize(int(os.Stdout.Fd())) // 0 where that is no terminal
		if again && width > 0 {
			page.WriteString("\x1b[H\x1b[2J") // to the first line, and clear
		}
		_, err = askAdmin(admin, peersPath, &waiting)
		printConnections(page, open, waiting.Peers, width)
	}
	if err != nil {
		return err
	}
	_, err = page.WriteTo(os.Stdout)
	return err
}

// askAdmin asks an endpoint of the admin API at an address, or at Caddy's default, and decodes the
// answer. Its errors say what to do.
func askAdmin(admin, uri string, into any) (answer []byte, err error) {
	address, err := caddycmd.DetermineAdminAPIAddress(admin, nil, "", "")
	if err != nil {
		return nil, err
	}
	resp, err := caddycmd.AdminAPIRequest(address, http.MethodGet, uri, nil, nil)
	if err == nil {
		defer resp.Body.Close()
		if answer, err = io.ReadAll(resp.Body); err != nil {
			return nil, fmt.Errorf("the answer of the Caddy at %s broke off: %w", address, err)
		}
		if err = json.Unmarshal(answer, into); err != nil {
			err = fmt.Errorf("the answer of the admin API is not what was expected; is that Caddy older or newer? %w", err)
		}
		return answer, err
	}
	// AdminAPIRequest keeps nothing of an error but its text.
	text, endpoint := err.Error(), strings.SplitN(uri, "?", 2)[0]
	switch {
	case strings.Contains(text, "HTTP 404"):
		return nil, fmt.Errorf("the Caddy at %s has no %s: it has no caddy-sockopt, or an older one", address, endpoint)
	case strings.Contains(text, "HTTP 403"):
		return nil, fmt.Errorf("the admin API at %s does not let this command ask: %w; run it on the same machine", address, err)
	case !strings.Contains(text, "HTTP 4"):
		return nil, fmt.Errorf("nobody answers at %s: Caddy does not run, its admin API is off, or it is elsewhere (--address): %w", address, err)
	}
	return nil, err
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

// connectionColumns are the columns of the table, the most useful first: a narrow terminal shows fewer.
var connectionColumns = []struct {
	title string
	of    func(c *connectionAnswer) string
}{
	{"PEER", func(c *connectionAnswer) string { return c.Peer.String() }},
	{"LIMITED BY", func(c *connectionAnswer) string { return string(c.LimitedBy) }},
	{"RTT", func(c *connectionAnswer) string { return shown(inMilliseconds, c.RTT) }},
	{"UNSENT", func(c *connectionAnswer) string { return shown(inBytes, c.Unsent) }},
	{"RETRANS", func(c *connectionAnswer) string { return shown(humanize.Ftoa, c.Retrans) }},
	{"QUICKACK", func(c *connectionAnswer) string { return c.QuickAck.State }},
	{"STALLS", func(c *connectionAnswer) string { return fmt.Sprint(c.QuickAck.Stalls) }},
	{"SENT", func(c *connectionAnswer) string { return shown(inBytes, c.Acked) }},
	{"RECEIVED", func(c *connectionAnswer) string { return shown(inBytes, c.Received) }},
	{"IDLE", func(c *connectionAnswer) string { return shown(inTime, c.LastSent, c.LastReceived) }},
	{"CWND", func(c *connectionAnswer) string { return shown(humanize.Ftoa, c.Window) }},
	{"CONGESTION", func(c *connectionAnswer) string { return c.Congestion }},
	{"DIRECTION", func(c *connectionAnswer) string { return string(c.Direction) }},
	{"SERVER", func(c *connectionAnswer) string { return c.Server }},
}

func inMilliseconds(seconds float64) string { return humanize.FtoaWithDigits(seconds*1e3, 2) + "ms" }

func inBytes(n float64) string { return humanize.IBytes(uint64(n)) }

func inTime(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond).String()
}

// shown shows the least of figures, or "-" where the kernel does not say one.
func shown(as func(float64) string, figures ...*float64) string {
	if slices.Contains(figures, nil) {
		return "-"
	}
	return as(*slices.MinFunc(figures, func(a, b *float64) int { return cmp.Compare(*a, *b) }))
}

// shownPeers is how many of the peers that wait the command prints.
const shownPeers = 10

// printConnections prints totals and a table that fits width, or all of it where that is 0.
func printConnections(w io.Writer, a connectionsAnswer, peers []stats.Peer, width int) {
	totals := append(make([][]string, 0, 1+len(a.Totals)), []string{"SERVER", "WHERE", "CONNECTIONS", "LIMITED BY"})
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
	open := make([][]string, 1+len(a.Connections))
	for _, column := range connectionColumns {
		open[0] = append(open[0], column.title)
		for i := range a.Connections {
			open[i+1] = append(open[i+1], column.of(&a.Connections[i]))
		}
	}
	wait := append(make([][]string, 0, 1+shownPeers), []string{"PEER THAT WAITS", "COUNT", "KIND", "LAST", "SERVER"})
	for _, p := range peers[:min(len(peers), shownPeers)] {
		peer := p.Peer.String()
		if p.Peer.IsSingleIP() {
			peer = p.Peer.Addr().String()
		}
		wait = append(wait, []string{peer, fmt.Sprint(p.Count), string(p.Kind), humanize.Time(p.Last), p.Server})
	}
	printTable(w, totals, width)
	fmt.Fprintln(w)
	printTable(w, open, width)
	if hidden := a.Matched - len(a.Connections); hidden > 0 {
		fmt.Fprintf(w, "and %d more; the admin API shows them with limit=0\n", hidden)
	}
	if len(peers) > 0 {
		fmt.Fprintln(w)
		printTable(w, wait, width)
	}
}

// printTable prints rows with as many columns as fit width, or all of them where that is 0.
func printTable(w io.Writer, rows [][]string, width int) {
	const gap = 2
	columns := len(rows[0])
	for i, used := 0, 0; i < columns && width > 0; i++ {
		longest := 0
		for _, row := range rows {
			longest = max(longest, len(row[i]))
		}
		if used += longest; used > width {
			columns = max(i, 1)
		}
		used += gap
	}
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, gap, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row[:columns], "\t"))
	}
	_ = t.Flush() // into memory
	for line := range strings.Lines(table.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}
