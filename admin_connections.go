package sockopt

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
)

const (
	connectionsPath = "/sockopt/connections"
	peersPath       = "/sockopt/peers"
)

// getOnly answers GET of one path, for as long as the client waits. What it answers has addresses of
// clients, and nobody keeps it.
func getOnly(path string, answer func(http.ResponseWriter, *http.Request) error) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case r.URL.Path != path:
			return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("resource not found: %s; there is %s", r.URL.Path, path)}
		case r.Method != http.MethodGet:
			w.Header().Set("Allow", http.MethodGet)
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("method not allowed: %s; use GET", r.Method)}
		}
		w.Header().Set("Content-Type", "application/json")
		return answer(w, r)
	}
}

// peersAnswer is the answer of GET /sockopt/peers.
type peersAnswer struct {
	Peers []stats.Peer `json:"peers"`
}

// connectionsQuery is what GET /sockopt/connections is asked for.
type connectionsQuery struct {
	server, address string
	direction       stats.Direction
	peer            netip.Prefix
	sort            *stats.Field
	limit           int // 0 is none
}

// parameter is one of a query, with what it takes.
type parameter struct {
	name, takes string
	set         func(q *connectionsQuery, value string) bool
}

var parameters = []parameter{
	{"server", "the name of a server", func(q *connectionsQuery, value string) bool {
		q.server = value
		return true
	}},
	{"direction", "accepted or dialed", func(q *connectionsQuery, value string) bool {
		q.direction = stats.Direction(value)
		return q.direction == stats.Accepted || q.direction == stats.Dialed
	}},
	{"address", "the address of a listener or of an upstream", func(q *connectionsQuery, value string) bool {
		q.address = value
		return true
	}},
	{"peer", "an IP address or a network such as 192.0.2.0/24", func(q *connectionsQuery, value string) bool {
		if addr, err := netip.ParseAddr(value); err == nil {
			q.peer = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
			return true
		}
		var err error
		q.peer, err = netip.ParsePrefix(value)
		return err == nil
	}},
	{"sort", "one of " + strings.Join(fieldNames(), ", "), func(q *connectionsQuery, value string) bool {
		i := slices.Index(fieldNames(), value)
		if i >= 0 {
			q.sort = &stats.Fields[i]
		}
		return i >= 0
	}},
	{"limit", "how many connections to show, 0 for all", func(q *connectionsQuery, value string) bool {
		var err error
		q.limit, err = strconv.Atoi(value)
		return err == nil && q.limit >= 0
	}},
}

func fieldNames() []string {
	names := make([]string, len(stats.Fields))
	for i, f := range stats.Fields {
		names[i] = f.Name
	}
	return names
}

func parseConnectionsQuery(values url.Values) (connectionsQuery, error) {
	q := connectionsQuery{limit: 100}
	for name, given := range values {
		i := slices.IndexFunc(parameters, func(p parameter) bool { return p.name == name })
		switch {
		case i < 0:
			return q, fmt.Errorf("unknown parameter %q; there are server, direction, address, peer, sort and limit", name)
		case len(given) > 1:
			return q, fmt.Errorf("%s is given %d times; give it once", name, len(given))
		case !parameters[i].set(&q, given[0]):
			return q, fmt.Errorf("%s %q is not %s", name, given[0], parameters[i].takes)
		}
	}
	return q, nil
}

func (q *connectionsQuery) wants(o stats.Origin) bool {
	return (q.server == "" || q.server == o.Server) && (q.direction == "" || q.direction == o.Direction)
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
	open, err := stats.MeasureOpen(r.Context(), q.wants, func(peer netip.Addr) bool { return !q.peer.IsValid() || q.peer.Contains(peer) })
	if err != nil {
		return err // the client has gone
	}
	if q.address != "" {
		open = slices.DeleteFunc(open, func(o stats.Open) bool { return q.address != cmp.Or(o.Place().Address, o.Place().Upstream) })
	}
	slices.SortStableFunc(open, func(a, b stats.Open) int {
		if q.sort != nil {
			return -cmp.Compare(valueOf(q.sort, &a), valueOf(q.sort, &b)) // the largest is first
		}
		return cmp.Or(a.Place().Compare(b.Place()), a.Peer.Compare(b.Peer))
	})
	totals := totalsOf(open)
	matched := len(open)
	if q.limit > 0 {
		open = open[:min(q.limit, matched)]
	}
	return streamConnections(w, matched, totals, open)
}

// valueOf returns what a connection is sorted by. What is not known is last.
func valueOf(f *stats.Field, o *stats.Open) float64 {
	value, known := f.Of(o)
	if !known {
		return -1
	}
	return value
}

func totalsOf(open []stats.Open) []connectionTotals {
	totals := []connectionTotals{}
	at := make(map[stats.Place]int)
	for i := range open {
		place := open[i].Place()
		n, ok := at[place]
		if !ok {
			n, at[place] = len(totals), len(totals)
			totals = append(totals, connectionTotals{Place: place, LimitedBy: make(map[stats.Limit]int)})
		}
		totals[n].Connections++
		totals[n].LimitedBy[open[i].LimitedBy]++
	}
	slices.SortFunc(totals, func(a, b connectionTotals) int { return a.Place.Compare(b.Place) })
	return totals
}

// streamConnections writes the answer, a connection a line, so that the JSON of all is never in memory.
func streamConnections(w http.ResponseWriter, matched int, totals []connectionTotals, open []stats.Open) error {
	head, err := json.Marshal(totals)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "{\"matched\":%d,\"totals\":%s,\"connections\":[", matched, head); err != nil {
		return err
	}
	for i := range open {
		line, err := open[i].MarshalJSON()
		if err != nil {
			return err
		}
		separator := ",\n"
		if i == 0 {
			separator = "\n"
		}
		if _, err := w.Write(append([]byte(separator), line...)); err != nil {
			return err
		}
	}
	_, err = w.Write([]byte("\n]}\n"))
	return err
}
