package sockopt

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/internal/connection"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// MatchTCPInfo matches requests by what the kernel measures of the client's connection. In JSON it is a list of
// conditions such as "rtt > 200ms", "total_retrans >= 10" or "congestion == cubic", which must all hold: a figure by
// the name of its placeholder ({http.tcp_info.rtt}), one of < <= > >= == !=, and a value. A time is written as 200ms,
// bytes as 64KiB, segments as a number. A condition whose figure the kernel does not have, such as each of them over
// HTTP/3 and Unix sockets, does not hold.
//
// It needs no tcp_info handler. It costs a getsockopt(2) for a request, and one more for congestion.
//
// JSON:
//
//	{"tcp_info": ["rtt > 200ms"]}
//
// Caddyfile, in a site block:
//
//	@far tcp_info rtt > 200ms
//	respond @far "from far away"
type MatchTCPInfo struct {
	conditions []string
	holds      []func(*askedInfo) bool
}

// CaddyModule returns the Caddy module information.
func (MatchTCPInfo) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.tcp_info", New: func() caddy.Module { return new(MatchTCPInfo) }}
}

// UnmarshalCaddyfile reads conditions, which are all needed:
//
//	tcp_info <figure> <comparison> <value>
func (m *MatchTCPInfo) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		condition := strings.Join(d.RemainingArgs(), " ")
		if _, err := parseCondition(condition); err != nil {
			return d.Errf("tcp_info: %v", err)
		}
		m.conditions = append(m.conditions, condition)
		if d.NextBlock(0) {
			return d.Err("tcp_info takes no block; write each condition on a line of its own")
		}
	}
	return nil
}

// MarshalJSON writes the conditions.
func (m MatchTCPInfo) MarshalJSON() ([]byte, error) { return json.Marshal(m.conditions) }

// UnmarshalJSON reads the conditions.
func (m *MatchTCPInfo) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &m.conditions); err != nil || len(m.conditions) == 0 {
		return fmt.Errorf(`%s is not a list of conditions, such as ["rtt > 200ms"]`, b)
	}
	return nil
}

// Provision reads the conditions and makes the server give its requests their connection.
func (m *MatchTCPInfo) Provision(ctx caddy.Context) error {
	for _, condition := range m.conditions {
		holds, err := parseCondition(condition)
		if err != nil {
			return err
		}
		m.holds = append(m.holds, holds)
	}
	server, _ := serverOf(ctx)
	server.showConnections()
	return nil
}

// MatchWithError reports whether all conditions hold.
func (m *MatchTCPInfo) MatchWithError(r *http.Request) (bool, error) {
	conn, ok := connection.ServedBy(r)
	if !ok {
		return false, nil
	}
	asked := &askedInfo{tcp: conn.TCP}
	for _, holds := range m.holds {
		if !holds(asked) {
			return false, nil
		}
	}
	return true, nil
}

// comparisons are by the sign of a comparison's result.
var comparisons = map[string]func(sign int) bool{
	"<":  func(sign int) bool { return sign < 0 },
	"<=": func(sign int) bool { return sign <= 0 },
	">":  func(sign int) bool { return sign > 0 },
	">=": func(sign int) bool { return sign >= 0 },
	"==": func(sign int) bool { return sign == 0 },
	"!=": func(sign int) bool { return sign != 0 },
}

// parseCondition reads a figure, a comparison and a value. Its errors name what they can be.
func parseCondition(text string) (holds func(*askedInfo) bool, err error) {
	words := strings.Fields(text)
	if len(words) != 3 {
		return nil, fmt.Errorf("%q is not a condition: a figure, a comparison and a value, such as rtt > 200ms", text)
	}
	name, sign, value := words[0], words[1], words[2]
	compare, ok := comparisons[sign]
	if !ok || name == "congestion" && sign != "==" && sign != "!=" {
		return nil, fmt.Errorf("%q: %s cannot be compared by %q; congestion can by == and !=, the others also by <, <=, > and >=", text, name, sign)
	}
	if name == "congestion" {
		return func(a *askedInfo) bool {
			algorithm := a.algorithm()
			return algorithm != nil && compare(strings.Compare(fmt.Sprint(algorithm), value))
		}, nil
	}
	names := []string{"congestion"}
	for _, f := range socket.Figures {
		names = append(names, f.Name)
		if f.Name != name {
			continue
		}
		want, err := parseFigure(f, value)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		return func(a *askedInfo) bool {
			now, known := a.value(f)
			return known && compare(cmp.Compare(now, want))
		}, nil
	}
	return nil, fmt.Errorf("%q: there is no figure %q; it can be %s", text, name, strings.Join(names, ", "))
}

// parseFigure reads a value of a figure in its unit, as the kernel counts it.
func parseFigure(f socket.Figure, text string) (int64, error) {
	switch f.Unit {
	case socket.Microseconds:
		d, err := options.ParseDuration(text)
		return time.Duration(d).Microseconds(), err
	case socket.Bytes:
		size, err := options.ParseSize(text)
		return int64(size), err
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			err = fmt.Errorf("%q is not a number of segments, such as 10", text)
		}
		return n, err
	}
}
