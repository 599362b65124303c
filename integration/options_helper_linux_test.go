package integration_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// heldBy returns where the kernel has an option, and a sample.
func heldBy(t testing.TB, name string) lab.Expected {
	t.Helper()
	kernel, ok := lab.Expectations[name]
	require.True(t, ok, "add a line for %s to Expectations in internal/lab/expectations.go", name)
	return kernel
}

// needKernel skips the test where this kernel is too old for the option. Where this
// process has not the right to it, that is missing.
func needKernel(t *testing.T, name string) {
	t.Helper()
	o := supportOf(t, name)
	if !o.Supported {
		t.Skipf("%s needs %s", name, o.Needs)
	}
	if o.Capability != nil && !o.Capability.Held && slices.Contains([]string{"mark", "busy_poll"}, name) {
		lab.Missing(t, fmt.Sprintf("%s needs %s", name, o.Capability.Name))
	}
}

// supportOf returns what this system offers of an option.
func supportOf(t testing.TB, name string) options.Support {
	t.Helper()
	all := options.ThisSystem().Options
	i := slices.IndexFunc(all, func(o options.Support) bool { return o.Name == name })
	require.GreaterOrEqual(t, i, 0, "no option %s", name)
	return all[i]
}

// sockets returns a listening socket of Caddy behind wrappers, and a connection
// that it accepted, over which nothing was sent.
func sockets(t *testing.T, lines string) (*net.TCPListener, *net.TCPConn) {
	t.Helper()
	_, ln, conn := runningSockets(t, lines)
	return ln, conn
}

// runningSockets are the sockets with their Caddy.
func runningSockets(t *testing.T, lines string) (*lab.Running, *net.TCPListener, *net.TCPConn) {
	t.Helper()
	addr := lab.Address(t)
	c := inprocess.Run(t, lab.Wrappers(lines), fmt.Sprintf("http://%s {\necho_payload\n}", addr))
	client, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	if strings.Contains(lines, "defer_accept") { // which waits for bytes; without, it has none to read
		_, err = client.Write([]byte("G"))
		require.NoError(t, err)
	}
	conn, _ := inprocess.AcceptedSocket(t, client)
	return c, inprocess.ListeningSocket(t, addr), conn
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
