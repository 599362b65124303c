package lab

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDataRace: races of Caddy's own are none, unless they are of the connection that Caddy
// closes.
func TestDataRace(t *testing.T) {
	const body = "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy.(*bodyNopCloserIfNotRead).Close()\n      reverseproxy.go:498 +0x2c\n"
	const conn = "github.com/caddy-sockopt/caddy-sockopt/socket.(*Conn).Read()\n      conn_linux.go:92 +0x1\n"
	report := func(read string) string {
		return "==================\nWARNING: DATA RACE\nRead at 0x00c0001ed9a8 by goroutine 74:\n  " + read +
			"\nPrevious write at 0x00c0001ed9a8 by goroutine 73:\n  main.f()\n      main.go:1 +0x1\n==================\n"
	}
	require.False(t, dataRace("serving initial configuration\n"))
	require.True(t, dataRace(report(conn)))
	require.False(t, dataRace(report(body)))
	require.True(t, dataRace(report(conn+"  "+body)))
	require.True(t, dataRace(report(body)+report(conn)))
}
