package integration_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

func requireStatus(t testing.TB, c *lab.Running, answer any) {
	t.Helper()
	status, text := c.API(http.MethodGet, "/sockopt/", "", "")
	require.Equal(t, http.StatusOK, status, text)
	require.NoError(t, json.Unmarshal([]byte(text), answer))
}

func TestHTTP3(t *testing.T) {
	s := newH3Site(t)
	c := inprocess.Run(t, s.global("h1 h2 h3", "sockopt", "recv_buffer 4MiB", "dscp af21", "priority 2", "ttl 42", "mark 0x2a", "metrics"), s.site("echo_payload"))
	require.Equal(t, string(lab.Stars), s.fetch(t))
	p := packet(t, c)
	require.Equal(t, "[::]:"+lab.PortOf(s.addr), p.Address)
	t.Log(p)
	t.Log(c.Warnings())
	_, text := c.API(http.MethodGet, "/sockopt/", "", "")
	t.Log(text)
	dropped, ok := c.Metric("dropped_datagrams_total", "")
	require.True(t, ok)
	require.Zero(t, dropped)
}
