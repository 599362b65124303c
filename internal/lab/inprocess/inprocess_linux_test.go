package inprocess

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestObserver follows a connection and a reload.
func TestObserver(t *testing.T) {
	addr := lab.Address(t)
	site := "http://" + addr + " {\nrespond hello\n}"
	c := Run(t, lab.Wrappers(Observer), site)
	first := ListeningSocket(t, addr)
	client, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer client.Close()
	tcp, latest := AcceptedSocket(t, client)
	require.True(t, latest)
	require.Equal(t, tcp, Conn(t, addr))

	c.Reload(lab.Wrappers(Observer), strings.Replace(site, "hello", "again", 1))
	require.NotSame(t, first, ListeningSocket(t, addr))
	_, latest = AcceptedSocket(t, client)
	require.False(t, latest)
	require.Empty(t, Conns(t, addr))
	status, _ := c.API(http.MethodGet, "/config/", "", "")
	require.Equal(t, http.StatusOK, status)
}
