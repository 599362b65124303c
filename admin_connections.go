package sockopt

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
)

// connectionsQuery is what GET /sockopt/connections is asked for.
type connectionsQuery struct {
	server, address string
	direction       stats.Direction
	peer            netip.Prefix
	sort            *stats.Field
	limit           int // 0 is none
}

func parseConnectionsQuery(values url.Values) (connectionsQuery, error) {
	q := connectionsQuery{limit: 100}
	for name, given := range values {
		if len(given) > 1 {
			return q, fmt.Errorf("%s is given %d times; give it once", name, len(given))
		}
		if takes, ok := q.set(name, given[0]); takes == "" {
			return q, fmt.Errorf("unknown parameter %q; there are server, direction, address, peer, sort and limit", name)
		} else if !ok {
			return q, fmt.Errorf("%s %q is not %s", name, given[0], takes)
		}
	}
	return q, nil
}

// set sets a parameter. It returns what the parameter takes, and whether that is what it was given.
func (q *connectionsQuery) set(name, value string) (takes string, ok bool) {
	var err error
	switch name {
	case "server":
		q.server = value
		return "the name of a server", true
	case "address":
		q.address = value
		return "the address of a listener or of an upstream", true
	case "direction":
		q.direction = stats.Direction(value)
		return "accepted or dialed", q.direction == stats.Accepted || q.direction == stats.Dialed
	case "peer":
		if q.peer, err = netip.ParsePrefix(value); err != nil {
			var addr netip.Addr
			addr, err = netip.ParseAddr(value)
			q.peer = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
		}
		return "an IP address or a network such as 192.0.2.0/24", err == nil
	case "sort":
		names := make([]string, len(stats.Fields))
		for i, f := range stats.Fields {
			names[i] = f.Name
			if f.Name == value {
				q.sort = &stats.Fields[i]
			}
		}
		return "one of " + strings.Join(names, ", "), q.sort != nil
	case "limit":
		q.limit, err = strconv.Atoi(value)
		return "how many connections to show, 0 for all", err == nil && q.limit >= 0
	}
	return "", false
}

func (q *connectionsQuery) wants(o stats.Origin) bool {
	return (q.server == "" || q.server == o.Server) && (q.direction == "" || q.direction == o.Direction) &&
		(q.address == "" || q.address == cmp.Or(o.Address, o.Upstream))
}

// connectionTotals are the connections of one server at one address.
type connectionTotals struct {
	stats.Place
	Connections int                 `json:"connections"`
	LimitedBy   map[stats.Limit]int `json:"limited_by"`
}

// showConnections measures the open connections and streams them.
func showConnections(w http.ResponseWriter, r *http.Request) error {
	q, err := parseConnectionsQuery(r.URL.Query())
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	open, err := stats.MeasureOpen(r.Context(), q.wants, func(peer netip.Addr) bool { return !q.peer.IsValid() || q.peer.Contains(peer) }, q.limit == 0)
	if err != nil {
		return err // the client has gone
	}
	if q.sort != nil {
		open = stats.Each(r.Context(), open, func(o *stats.Open) bool {
			value, known := q.sort.Of(o)
			if o.Rank = value; !known {
				o.Rank = -1
			}
			return true
		})
	}
	slices.SortFunc(open, (*stats.Open).Compare)
	totals := totalsOf(open)
	matched := len(open)
	if q.limit > 0 {
		open = open[:min(q.limit, matched)]
	}
	return streamConnections(r.Context(), w, matched, totals, open)
}

func totalsOf(open []*stats.Open) []*connectionTotals {
	at := make(map[stats.Place]*connectionTotals)
	for _, o := range open {
		t := at[o.Place()]
		if t == nil {
			t = &connectionTotals{Place: o.Place(), LimitedBy: make(map[stats.Limit]int)}
			at[t.Place] = t
		}
		t.Connections++
		t.LimitedBy[o.LimitedBy]++
	}
	totals := slices.AppendSeq([]*connectionTotals{}, maps.Values(at))
	slices.SortFunc(totals, func(a, b *connectionTotals) int { return a.Place.Compare(b.Place) })
	return totals
}

// streamConnections writes the answer, a connection a line, so that the JSON of all is never in memory.
func streamConnections(ctx context.Context, w http.ResponseWriter, matched int, totals []*connectionTotals, open []*stats.Open) error {
	head, err := json.Marshal(totals)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 64<<10)
	fmt.Fprintf(b, "{\"matched\":%d,\"totals\":%s,\"connections\":[", matched, head)
	separator := "\n"
	stats.Each(ctx, open, func(o *stats.Open) bool {
		_, err = b.Write(o.AppendJSON(append(b.AvailableBuffer(), separator...)))
		separator = ",\n"
		return err == nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, _ = b.WriteString("\n]}\n") // b keeps the first error
	return b.Flush()
}
