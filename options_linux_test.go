package sockopt

import (
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// inKernel has the level and the number of each of the kernel's options, and what
// the kernel makes of a value.
var inKernel = map[string]struct{ level, number, factor int }{
	"TCP_NODELAY":  {syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
	"TCP_QUICKACK": {syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1},
	"SO_RCVBUF":    {syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2}, // socket(7)
	"SO_SNDBUF":    {syscall.SOL_SOCKET, syscall.SO_SNDBUF, 2}, // socket(7)
}

// TestRowsReachTheKernel sets each option through a running Caddy and reads it
// back from the sockets that Caddy has then.
func TestRowsReachTheKernel(t *testing.T) {
	for _, r := range rows {
		if r.option.Name == "" {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			_, o := expect(t, r)
			kernel, ok := inKernel[r.option.Name]
			require.True(t, ok, "%s needs a line in inKernel", r.option.Name)
			value, lasting := r.kernel(o)
			require.True(t, lasting, "the sample must be one that a socket keeps")
			want := fmt.Sprint(value * kernel.factor)

			ln, conn := sockets(t, observe)
			untouched := getsockopt(t, ln, kernel.level, kernel.number)
			require.NotEqual(t, want, getsockopt(t, conn, kernel.level, kernel.number),
				"the sample must differ from what a connection has without it")

			ln, conn = sockets(t, "sockopt"+block(r.name+" "+r.text(o))+"\n"+observe)
			require.Equal(t, want, getsockopt(t, conn, kernel.level, kernel.number), "on the accepted connection")
			if r.phases&listen != 0 {
				untouched = want
			}
			require.Equal(t, untouched, getsockopt(t, ln, kernel.level, kernel.number), "on the listening socket")
		})
	}
}

// getsockopt reads an option from the kernel: the value, or why there is none. An
// MPTCP listener lacks some.
func getsockopt(t *testing.T, c syscall.Conn, level, number int) (text string) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		value, err := syscall.GetsockoptInt(int(fd), level, number)
		text = fmt.Sprint(value)
		if err != nil {
			text = err.Error()
		}
	}))
	return text
}

// recvBuffer is the effective receive buffer of a socket.
func recvBuffer(t *testing.T, c syscall.Conn) string {
	t.Helper()
	return getsockopt(t, c, syscall.SOL_SOCKET, syscall.SO_RCVBUF)
}

// sockets returns a listening socket of Caddy behind wrappers, and a connection
// that it accepted, over which nothing was sent.
func sockets(t *testing.T, lines string) (*net.TCPListener, *net.TCPConn) {
	t.Helper()
	addr := address(t)
	run(t, wrappers(lines), fmt.Sprintf("http://%s {\necho_payload\n}", addr))
	client, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	conn, _ := acceptedSocket(t, client)
	return listeningSocket(t, addr), conn
}

// TestBareWrapperSetsNothing compares every option of the kernel that is a number.
func TestBareWrapperSetsNothing(t *testing.T) {
	ln, conn := sockets(t, observe)
	stockListener, stockConn := everyOption(t, ln), everyOption(t, conn)
	ln, conn = sockets(t, "sockopt\n"+observe)
	require.Empty(t, changed(stockListener, everyOption(t, ln)))
	require.Empty(t, changed(stockConn, everyOption(t, conn)))

	_, conn = sockets(t, "sockopt"+block("nodelay off")+"\n"+observe)
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
			options[numbered{name, number}] = getsockopt(t, c, level, number)
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
