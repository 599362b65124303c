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

// Numbers of the kernel that package syscall lacks, from include/uapi: linux/tcp.h and
// linux/in6.h.
const (
	tcpUserTimeout = 18
	ipv6Hops       = 16
	ipv6Class      = 67
)

// inherits is what accepted connections have of the samples that are the listening
// socket's alone.
var inherits = map[string]string{
	"max_segment": "1188", // less 12 for timestamps
	"interface":   "lo",
	"save_syn":    "1",
}

// TestOptionsReachTheKernel sets each option through a running Caddy, and reads it back
// from the sockets that Caddy has then, and from the admin API.
func TestOptionsReachTheKernel(t *testing.T) {
	all := options.ThisSystem().Options
	if !slices.ContainsFunc(all, func(o options.Support) bool { return o.NeedsMPTCP != "" }) {
		inprocess.Parallel(t) // otherwise it listens without MPTCP, as the whole process then does
	}
	for _, o := range all {
		accept, listen := slices.Contains(o.Phases, "accept"), slices.Contains(o.Phases, "listen")
		kernel := heldBy(t, o.Name)
		if kernel.Level == 0 && kernel.Number == 0 || !accept && !listen {
			continue // it is not a socket's, or not one of a listener
		}
		t.Run(o.Name, func(t *testing.T) {
			needKernel(t, o.Name)
			ln, conn := sockets(t, inprocess.Observer)
			onListener, onConn := kernel.Read(t, ln), kernel.Read(t, conn)
			if accept {
				require.NotEqual(t, kernel.Effective, onConn, "the sample must differ from what a connection has without it")
				onConn = kernel.Effective
			}
			if inherited := inherits[o.Name]; inherited != "" {
				require.NotEqual(t, inherited, onConn)
				onConn = inherited
			}
			if listen && !accept || strings.HasSuffix(o.Name, "_buffer") {
				require.NotEqual(t, kernel.Effective, onListener, "the sample must differ from what a listener has without it")
				onListener = kernel.Effective
			}

			lines := []string{o.Name + " " + kernel.Sample}
			if o.NeedsMPTCP != "" {
				lines = append(lines, "multipath off") // the fix that the error names
			}
			c, ln, conn := runningSockets(t, "sockopt"+lab.Block(lines...)+"\n"+inprocess.Observer)
			require.Equal(t, onConn, kernel.Read(t, conn), "on the accepted connection, with what it inherits (inherits in options_kernel_linux_test.go)")
			if !accept || onListener == kernel.Effective {
				require.Equal(t, onListener, kernel.Read(t, ln), "on the listening socket")
			}

			for _, warning := range c.Warnings() {
				require.NotContains(t, warning.Message, "clamped")
			}
			require.Empty(t, c.Entries("info"))
			shown := slices.DeleteFunc(statusOf(t, c).Listeners[0].Options, func(e options.Effect) bool { return e.Option == "multipath" })
			require.Len(t, shown, 1)
			require.Equal(t, o.Name, shown[0].Option)
			require.Equal(t, kernel.Sample, shown[0].Requested)
			require.Equal(t, kernel.Sample, shown[0].Effective)
		})
	}
}

// TestBothFamilies: a dual-stack socket has the options of IPv4 and of IPv6,
// whichever of them its client speaks.
func TestBothFamilies(t *testing.T) {
	lab.RequireIPv6(t)
	const none = "operation not supported"
	for _, test := range []struct {
		name, bind, client string
		class, hops        string
	}{
		{"IPv4 client of a dual-stack listener", "", "127.0.0.1", "184", "42"},
		{"IPv6 client of a dual-stack listener", "", "::1", "184", "42"},
		{"IPv6 listener", "bind ::1", "::1", "184", "42"},
		{"IPv4 listener", "bind 127.0.0.1", "127.0.0.1", none, none},
	} {
		t.Run(test.name, func(t *testing.T) {
			port := fmt.Sprint(lab.Port(t))
			c := inprocess.Run(t, lab.Wrappers("sockopt"+lab.Block("dscp ef", "ttl 42")+"\n"+inprocess.Observer), "http://:"+port+" {\n"+test.bind+"\n}")
			client, err := net.Dial("tcp", net.JoinHostPort(test.client, port))
			require.NoError(t, err)
			defer client.Close()
			conn, _ := inprocess.AcceptedSocket(t, client)
			require.Equal(t, "184", lab.GetSockOpt(t, conn, syscall.IPPROTO_IP, syscall.IP_TOS))
			require.Equal(t, "42", lab.GetSockOpt(t, conn, syscall.IPPROTO_IP, syscall.IP_TTL))
			require.Equal(t, test.class, lab.GetSockOpt(t, conn, syscall.IPPROTO_IPV6, ipv6Class))
			require.Equal(t, test.hops, lab.GetSockOpt(t, conn, syscall.IPPROTO_IPV6, ipv6Hops))
			require.Empty(t, c.Warnings())
		})
	}
}

// recvBuffer is the effective receive buffer of a socket.
func recvBuffer(t *testing.T, c syscall.Conn) string {
	t.Helper()
	return lab.GetSockOpt(t, c, syscall.SOL_SOCKET, syscall.SO_RCVBUF)
}
