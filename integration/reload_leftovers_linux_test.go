package integration_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

func TestReloadsAndStopsLeaveNothing(t *testing.T) {
	addr, c := lab.Address(t), lab.NewRunning(t)
	var generation int
	load := func() {
		generation++
		caddyfile := c.Caddyfile(lab.Wrappers("sockopt {\nnodelay off\nrecv_buffer 64KiB\n}"),
			fmt.Sprintf("http://%s {\nheader Generation %d\necho_payload\n}", addr, generation))
		adapted, err := inprocess.Adapt(strings.Replace(caddyfile, "grace_period 1s", "grace_period 10ms", 1))
		require.NoError(t, err)
		require.NoError(t, caddy.Load(adapted, true))
	}
	// open leaves connections at each point of their life. The listener of the
	// previous configuration may still take one along as it closes.
	open := func() (conns []net.Conn) {
		for _, text := range []string{
			"",                        // silent
			requestLine + "Host: 127", // in the middle of a request
			request,                   // with a response that is not read
		} {
			conns = append(conns, insist(t, addr, func(conn net.Conn) error {
				_, err := io.WriteString(conn, text)
				return err
			}))
		}
		return append(conns, insist(t, addr, func(conn net.Conn) error {
			return fetch(conn, bufio.NewReader(conn), request) // then idle
		}))
	}
	cycle := func() {
		load()
		conns := open()
		load()
		conns = append(conns, open()...)
		require.NoError(t, caddy.Stop())
		for _, conn := range conns {
			conn.Close()
		}
	}
	for range 3 {
		cycle()
	}
	rest := atRest()
	cycles := lab.Long(5, 25)
	for range cycles { // with a reload and a stop in each
		cycle()
	}
	rest.await(t)
	require.Equal(t, 2*(3+cycles), generation)
}

// insist connects until use succeeds with a connection.
func insist(t testing.TB, addr string, use func(net.Conn) error) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(lab.Patience); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			if err = use(conn); err == nil {
				return conn
			}
			conn.Close()
		}
		require.True(t, time.Now().Before(deadline), "%v", err)
	}
}
