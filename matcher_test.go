package sockopt

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestMatcherCaddyfile: several conditions are one list in JSON.
func TestMatcherCaddyfile(t *testing.T) {
	m := new(MatchTCPInfo)
	require.NoError(t, m.UnmarshalCaddyfile(caddyfile.NewTestDispenser("tcp_info rtt > 200ms\ntcp_info congestion == cubic")))
	text, err := json.Marshal(m)
	require.NoError(t, err)
	require.JSONEq(t, `["rtt > 200ms", "congestion == cubic"]`, string(text))
	again := new(MatchTCPInfo)
	require.NoError(t, json.Unmarshal(text, again))
	require.Equal(t, m, again)
	require.ErrorContains(t, new(MatchTCPInfo).UnmarshalCaddyfile(caddyfile.NewTestDispenser("tcp_info rtt > 200ms {\nnow\n}")), "takes no block")
	for _, bad := range []string{`null`, `[]`, `"rtt > 200ms"`, `{"rtt": 1}`} {
		require.ErrorContains(t, json.Unmarshal([]byte(bad), new(MatchTCPInfo)), bad, bad)
	}
}

// TestMatcherRefuses: an error names the condition, and what it can be.
func TestMatcherRefuses(t *testing.T) {
	for condition, want := range map[string]string{
		"":                   `"" is not a condition: a figure, a comparison and a value, such as rtt > 200ms`,
		"rtt>200ms":          `"rtt>200ms" is not a condition: a figure, a comparison and a value, such as rtt > 200ms`,
		"rtt > 200ms 3":      `"rtt > 200ms 3" is not a condition: a figure, a comparison and a value, such as rtt > 200ms`,
		"rrt > 200ms":        `"rrt > 200ms": there is no figure "rrt"; it can be congestion, rtt, rttvar, `,
		"rtt = 200ms":        `"rtt = 200ms": rtt cannot be compared by "="; congestion can by == and !=, the others also by <, <=, > and >=`,
		"congestion > bbr":   `"congestion > bbr": congestion cannot be compared by ">"`,
		"rtt > 0.2":          `"rtt > 0.2": "0.2" is not a duration such as 40ms, 30s or 2h`,
		"snd_cwnd > 10ms":    `"snd_cwnd > 10ms": "10ms" is not a number of segments, such as 10`,
		"bytes_acked > 1,5K": `"bytes_acked > 1,5K": "1,5K" is not a size such as 64KiB, 1MB or a number of bytes`,
	} {
		_, err := parseCondition(condition)
		require.ErrorContains(t, err, want)
	}
}

// TestMatcherWithoutAConnection: no condition holds where nothing is known.
func TestMatcherWithoutAConnection(t *testing.T) {
	for _, condition := range []string{"rtt > 0s", "rtt <= 1h", "rtt != 1s", "congestion != bbr"} {
		holds, err := parseCondition(condition)
		require.NoError(t, err)
		require.False(t, holds(new(askedInfo)), condition)
		m := &MatchTCPInfo{conditions: []string{condition}}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		defer cancel()
		require.NoError(t, m.Provision(ctx))
		matches, err := m.MatchWithError(httptest.NewRequest(http.MethodGet, "/", nil))
		require.NoError(t, err)
		require.False(t, matches)
	}
	require.Nil(t, new(askedInfo).figure(socket.RTT), "null in a log")
	require.Nil(t, new(askedInfo).algorithm())
}

// TestMisspeltPlaceholdersAreBounded: a client may name any number of them in a template.
func TestMisspeltPlaceholdersAreBounded(t *testing.T) {
	misspelt.keys = nil
	t.Cleanup(func() { misspelt.keys = nil })
	core, logs := observer.New(zap.WarnLevel)
	a := &askedInfo{placeholders: &placeholders{"http.tcp_info.", zap.New(core)}}
	for n := range 20_000 {
		_, ok := a.placeholder(fmt.Sprintf("http.tcp_info.%d%s", n, strings.Repeat("x", 1000)))
		require.False(t, ok)
	}
	require.Equal(t, mostMisspelt, logs.Len())
	require.Len(t, misspelt.keys, mostMisspelt)
	for _, entry := range logs.All() {
		require.Less(t, len(fmt.Sprint(entry.ContextMap())), 2*longestMisspelt)
	}
}

// TestWhereTheWrapperGoes: what people write first, and what they are told.
func TestWhereTheWrapperGoes(t *testing.T) {
	_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\n\tsockopt\n}"), nil)
	require.ErrorContains(t, err, "sockopt is no global option: for all connections of a server write servers { listener_wrappers { sockopt } }")
	for _, option := range []string{"user_timeout", "pacing_rate"} {
		err := json.Unmarshal(fmt.Appendf(nil, `{"socket": {}, "%s": "30s"}`, option), new(Transport))
		require.EqualError(t, err, option+` is a socket option: write it into "socket": {"`+option+`": …}`)
	}
	require.ErrorContains(t, json.Unmarshal([]byte(`{"nope": 1}`), new(Transport)), `unknown field "nope"`)
}
