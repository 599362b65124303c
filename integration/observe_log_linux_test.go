package integration_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestLogNames: a line says which server and address it is about, and names an option as
// the configuration does, with the kernel's name beside it. Every Caddy of a test holds its
// log to that; here are lines of most kinds.
func TestLogNames(t *testing.T) {
	inprocess.Parallel(t)
	addr, side := lab.Address(t), lab.Address(t)
	address := ":" + lab.PortOf(addr)
	refused := []string{"congestion none_of_these", "on_unsupported warn"}
	c := inprocess.Run(t, `servers `+address+` {
			name front
			listener_wrappers {
				test_hide
				sockopt`+lab.Block(append(refused, "user_timeout 20s")...)+`
			}
		}
		servers :`+lab.PortOf(side)+` {
			name side
		}`, "http://"+addr+` {
			reverse_proxy `+lab.Address(t)+` {
				transport sockopt {
					socket`+lab.Block(refused...)+`
				}
			}
		}
		http://`+side+` {
			sockopt`+lab.Block(append(refused, "user_timeout 20s")...)+`
			echo_payload
		}`)
	client := lab.DialMPTCP(t, addr)
	_, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	require.NoError(t, err)
	_, err = client.Read(make([]byte, 1))
	require.NoError(t, err)

	type line struct{ message, option, kernel, server, address string }
	var lines []line
	for _, level := range []string{"debug", "info", "warn", "error"} {
		for _, e := range c.Entries(level) {
			lines = append(lines, line{e.Message, e.Option, e.Kernel, e.Server, e.Address})
		}
	}
	const leftOut = "option left out: this system refuses it"
	require.ElementsMatch(t, []line{
		{"quickack and metrics have no effect behind another listener wrapper; list sockopt before it", "", "", "front", address},
		{leftOut, "congestion", "TCP_CONGESTION", "front", address},               // of the wrapper
		{leftOut, "congestion", "TCP_CONGESTION", "front", address},               // of the transport
		{leftOut, "congestion", "TCP_CONGESTION", "side", ":" + lab.PortOf(side)}, // of the route
		{"a client speaks MPTCP, which refuses quickack and other options and is counted; multipath off in the wrapper has all clients speak TCP", "user_timeout", "TCP_USER_TIMEOUT", "front", "[::]" + address},
	}, lines)
}
