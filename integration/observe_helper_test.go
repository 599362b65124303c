package integration_test

import (
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// status is the answer of GET /sockopt/.
type status struct {
	Listeners  []use `json:"listeners"`
	Transports []use `json:"transports"`
	Routes     []use `json:"routes"`
}

// use is a place where options are in use.
type use struct {
	Server   string `json:"server"`
	Address  string `json:"address"`
	Upstream string `json:"upstream"`
	Position string `json:"position"`

	QuickAckReason string `json:"quickack_reason"`

	QuickAck string           `json:"quickack"`
	Options  []options.Effect `json:"options"`
	Counters struct {
		Connections  uint64          `json:"connections"`
		Acknowledged uint64          `json:"acknowledged"`
		Unreachable  uint64          `json:"unreachable"`
		Refused      []stats.Refusal `json:"refused"`
	} `json:"counters"`

	AcceptQueue *stats.AcceptQueue `json:"accept_queue"`
}

// status asks the admin API for what the options are in use.
func statusOf(t testing.TB, c *lab.Running) status {
	t.Helper()
	code, answer := c.API(http.MethodGet, "/sockopt/", "", "")
	require.Equal(t, http.StatusOK, code, answer)
	var s status
	require.NoError(t, json.Unmarshal([]byte(answer), &s), answer)
	return s
}

// failures counts the options that connections refused, and the connections in which no
// socket was found.
func failures(u use) uint64 {
	sum := u.Counters.Unreachable
	for _, r := range u.Counters.Refused {
		sum += r.Count
	}
	return sum
}

// listener returns the one use at an address that ends like this, ":8080".
func (s status) listener(t testing.TB, port string) use {
	t.Helper()
	var found []use
	for _, use := range s.Listeners {
		if strings.HasSuffix(use.Address, port) {
			found = append(found, use)
		}
	}
	require.Len(t, found, 1, "listeners at %s", port)
	return found[0]
}

// use returns the one listener of a site.
func (s *site) use(t testing.TB) use {
	t.Helper()
	listeners := statusOf(t, s.Running).Listeners
	require.Len(t, listeners, 1)
	_, port, err := net.SplitHostPort(s.addr)
	require.NoError(t, err)
	require.Equal(t, "[::]:"+port, listeners[0].Address)
	return listeners[0]
}

// transportInUse returns what the admin API shows of the only backend, or of the one that has
// connections: a forward proxy stands beside the backend behind it.
func transportInUse(t testing.TB, c *lab.Running) use {
	t.Helper()
	_, answer := c.API(http.MethodGet, "/sockopt/", "", "")
	var shown struct {
		Transports []use `json:"transports"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &shown))
	if len(shown.Transports) > 1 {
		shown.Transports = slices.DeleteFunc(shown.Transports, func(u use) bool { return u.Counters.Connections == 0 })
	}
	require.Len(t, shown.Transports, 1, answer)
	return shown.Transports[0]
}
