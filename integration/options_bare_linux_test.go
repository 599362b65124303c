package integration_test

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestBareWrapperSetsNothing compares every option of the kernel that is a number.
func TestBareWrapperSetsNothing(t *testing.T) {
	ln, conn := sockets(t, inprocess.Observer)
	stockListener, stockConn := everyOption(t, ln), everyOption(t, conn)
	ln, conn = sockets(t, "sockopt\n"+inprocess.Observer)
	require.Empty(t, changed(stockListener, everyOption(t, ln)))
	require.Empty(t, changed(stockConn, everyOption(t, conn)))

	_, conn = sockets(t, "sockopt"+lab.Block("nodelay off")+"\n"+inprocess.Observer)
	require.Equal(t, []string{"1 of IPPROTO_TCP: 1 became 0"}, changed(stockConn, everyOption(t, conn)), "what was set must show")
}

// numbered is an option by its number in the kernel.
type numbered struct {
	level  string
	number int
}

// everOther are options that differ from one connection to the next by themselves.
var everOther = []numbered{
	{"SOL_SOCKET", 28},  // SO_PEERNAME: the client's port
	{"SOL_SOCKET", 49},  // SO_INCOMING_CPU
	{"IPPROTO_IP", 52},  // IP_PROTOCOL, which is the port on a TCP socket
	{"IPPROTO_TCP", 24}, // TCP_TIMESTAMP: a clock
}

// everyOption reads all of a socket's options.
func everyOption(t *testing.T, c syscall.Conn) map[numbered]string {
	t.Helper()
	const last = 90 // beyond the last number of each level
	options := make(map[numbered]string)
	for name, level := range map[string]int{
		"SOL_SOCKET":   syscall.SOL_SOCKET,
		"IPPROTO_IP":   syscall.IPPROTO_IP,
		"IPPROTO_IPV6": syscall.IPPROTO_IPV6,
		"IPPROTO_TCP":  syscall.IPPROTO_TCP,
	} {
		for number := 1; number <= last; number++ {
			options[numbered{name, number}] = lab.GetSockOpt(t, c, level, number)
		}
	}
	for _, option := range everOther {
		delete(options, option)
	}
	return options
}

// changed lists the options whose values differ.
func changed(before, after map[numbered]string) []string {
	var all []string
	for option, value := range before {
		if after[option] != value {
			all = append(all, fmt.Sprintf("%d of %s: %s became %s", option.number, option.level, value, after[option]))
		}
	}
	return all
}
