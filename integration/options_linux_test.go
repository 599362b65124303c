package integration_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// inKernel is where the kernel keeps an option, by numbers of the kernel's
// headers, and what is read there.
type inKernel struct {
	sample        string // a value that differs from what sockets have without the option
	level, number int
	effective     string // what the kernel makes of the sample

	// inherited is what accepted connections have of an option that is the
	// listening socket's alone, if they have it.
	inherited string

	// read reads the option. None: it is an int.
	read func(t *testing.T, c syscall.Conn, level, number int) string
}

// Numbers of the kernel that package syscall lacks, from include/uapi: linux/tcp.h,
// linux/in.h, linux/in6.h and asm-generic/socket.h.
const (
	tcpUserTimeout  = 18
	tcpFastOpen     = 23
	tcpNotSentLowat = 25
	tcpRTOMax       = 44
	tcpRTOMin       = 45
	tcpDelayedAck   = 46
	tcpThinLinear   = 16
	soMark          = 36
	soBusyPoll      = 46
	soPacingRate    = 47
	ipv6Hops        = 16
	ipv6Class       = 67
)

// kernelHolds has the place of each of the kernel's options.
var kernelHolds = map[string]inKernel{
	"nodelay":            {sample: "off", level: syscall.IPPROTO_TCP, number: syscall.TCP_NODELAY, effective: "0"},
	"quickack":           {sample: "off", level: syscall.IPPROTO_TCP, number: syscall.TCP_QUICKACK, effective: "0"},
	"delayed_ack_max":    {sample: "40ms", level: syscall.IPPROTO_TCP, number: tcpDelayedAck, effective: "40000"},
	"notsent_lowat":      {sample: "128KiB", level: syscall.IPPROTO_TCP, number: tcpNotSentLowat, effective: "131072"},
	"cork":               {sample: "on", level: syscall.IPPROTO_TCP, number: syscall.TCP_CORK, effective: "1"},
	"busy_poll":          {sample: "50us", level: syscall.SOL_SOCKET, number: soBusyPoll, effective: "50"},
	"recv_buffer":        {sample: "96KiB", level: syscall.SOL_SOCKET, number: syscall.SO_RCVBUF, effective: "196608"},  // doubled: socket(7)
	"send_buffer":        {sample: "192KiB", level: syscall.SOL_SOCKET, number: syscall.SO_SNDBUF, effective: "393216"}, // doubled: socket(7)
	"congestion":         {sample: "reno", level: syscall.IPPROTO_TCP, number: syscall.TCP_CONGESTION, effective: "reno", read: readCongestion},
	"pacing_rate":        {sample: "10MiB", level: syscall.SOL_SOCKET, number: soPacingRate, effective: "10485760"},
	"window_clamp":       {sample: "48KiB", level: syscall.IPPROTO_TCP, number: syscall.TCP_WINDOW_CLAMP, effective: "49152"},
	"max_segment":        {sample: "1200", level: syscall.IPPROTO_TCP, number: syscall.TCP_MAXSEG, effective: "1200", inherited: "1188"}, // less 12 for timestamps
	"thin_stream":        {sample: "on", level: syscall.IPPROTO_TCP, number: tcpThinLinear, effective: "1"},
	"keepalive":          {sample: "off", level: syscall.SOL_SOCKET, number: syscall.SO_KEEPALIVE, effective: "0"},
	"keepalive_idle":     {sample: "2m", level: syscall.IPPROTO_TCP, number: syscall.TCP_KEEPIDLE, effective: "120"},
	"keepalive_interval": {sample: "7s", level: syscall.IPPROTO_TCP, number: syscall.TCP_KEEPINTVL, effective: "7"},
	"keepalive_count":    {sample: "5", level: syscall.IPPROTO_TCP, number: syscall.TCP_KEEPCNT, effective: "5"},
	"user_timeout":       {sample: "30s", level: syscall.IPPROTO_TCP, number: tcpUserTimeout, effective: "30000"},
	"linger":             {sample: "5s", level: syscall.SOL_SOCKET, number: syscall.SO_LINGER, effective: "1 5", read: readLinger},
	"fin_timeout":        {sample: "30s", level: syscall.IPPROTO_TCP, number: syscall.TCP_LINGER2, effective: "30"},
	"rto_min":            {sample: "60ms", level: syscall.IPPROTO_TCP, number: tcpRTOMin, effective: "60000"},
	"rto_max":            {sample: "10s", level: syscall.IPPROTO_TCP, number: tcpRTOMax, effective: "10000"},
	"dscp":               {sample: "ef", level: syscall.IPPROTO_IP, number: syscall.IP_TOS, effective: "184"},
	"priority":           {sample: "3", level: syscall.SOL_SOCKET, number: syscall.SO_PRIORITY, effective: "3"},
	"mark":               {sample: "0x2a", level: syscall.SOL_SOCKET, number: soMark, effective: "42"},
	"ttl":                {sample: "42", level: syscall.IPPROTO_IP, number: syscall.IP_TTL, effective: "42"},
	"backlog":            {sample: "7", level: syscall.IPPROTO_TCP, number: syscall.TCP_INFO, effective: "7", read: readBacklog},
	"defer_accept":       {sample: "3s", level: syscall.IPPROTO_TCP, number: syscall.TCP_DEFER_ACCEPT, effective: "3"},
	"fastopen":           {sample: "16", level: syscall.IPPROTO_TCP, number: tcpFastOpen, effective: "16"},
	"raw":                {sample: "6 18 30000", level: syscall.IPPROTO_TCP, number: tcpUserTimeout, effective: "30000"},
}

// heldBy returns where the kernel has an option.
func heldBy(t testing.TB, name string) inKernel {
	t.Helper()
	kernel, ok := kernelHolds[name]
	require.True(t, ok, "add a line for %s to kernelHolds in integration/options_linux_test.go", name)
	return kernel
}

// of reads the option from a socket.
func (k inKernel) of(t *testing.T, c syscall.Conn) string {
	t.Helper()
	if k.read == nil {
		return lab.GetSockOpt(t, c, k.level, k.number)
	}
	return k.read(t, c, k.level, k.number)
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

// TestOptionsReachTheKernel sets each option through a running Caddy, and reads it back
// from the sockets that Caddy has then, and from the admin API.
func TestOptionsReachTheKernel(t *testing.T) {
	all := options.ThisSystem().Options
	if !slices.ContainsFunc(all, func(o options.Support) bool { return o.NeedsMPTCP != "" }) {
		inprocess.Parallel(t) // otherwise it listens without MPTCP, as the whole process then does
	}
	for _, o := range all {
		accept, listen := slices.Contains(o.Phases, "accept"), slices.Contains(o.Phases, "listen")
		kernel, ok := kernelHolds[o.Name]
		if !ok || !accept && !listen {
			continue // the tests of options read every option back
		}
		t.Run(o.Name, func(t *testing.T) {
			needKernel(t, o.Name)
			ln, conn := sockets(t, inprocess.Observer)
			onListener, onConn := kernel.of(t, ln), kernel.of(t, conn)
			if accept {
				require.NotEqual(t, kernel.effective, onConn, "the sample must differ from what a connection has without it")
				onConn = kernel.effective
			}
			if kernel.inherited != "" {
				require.NotEqual(t, kernel.inherited, onConn)
				onConn = kernel.inherited
			}
			if listen && !accept || strings.HasSuffix(o.Name, "_buffer") {
				require.NotEqual(t, kernel.effective, onListener, "the sample must differ from what a listener has without it")
				onListener = kernel.effective
			}

			lines := []string{o.Name + " " + kernel.sample}
			if o.NeedsMPTCP != "" {
				lines = append(lines, "multipath off") // the fix that the error names
			}
			c, ln, conn := runningSockets(t, "sockopt"+lab.Block(lines...)+"\n"+inprocess.Observer)
			require.Equal(t, onConn, kernel.of(t, conn), "on the accepted connection")
			if !accept || onListener == kernel.effective {
				require.Equal(t, onListener, kernel.of(t, ln), "on the listening socket")
			}

			for _, warning := range c.Warnings() {
				require.NotContains(t, warning.Message, "clamped")
			}
			require.Empty(t, c.Entries("info"))
			shown := slices.DeleteFunc(statusOf(t, c).Listeners[0].Options, func(e options.Effect) bool { return e.Option == "multipath" })
			require.Len(t, shown, 1)
			require.Equal(t, o.Name, shown[0].Option)
			require.Equal(t, kernel.sample, shown[0].Requested)
			require.Equal(t, kernel.sample, shown[0].Effective)
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

func readCongestion(t *testing.T, c syscall.Conn, level, number int) string {
	return lab.GetSockOptText(t, c, level, number)
}

// readLinger reads a struct linger: on or off, and seconds.
func readLinger(t *testing.T, c syscall.Conn, level, number int) (text string) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		both, err := unix.GetsockoptUint64(int(fd), level, number)
		require.NoError(t, err)
		value := binary.NativeEndian.AppendUint64(nil, both)
		text = fmt.Sprint(binary.NativeEndian.Uint32(value), " ", binary.NativeEndian.Uint32(value[4:]))
	}))
	return text
}

// readBacklog reads the length of a listener's queue.
func readBacklog(t *testing.T, c syscall.Conn, _, _ int) string {
	t.Helper()
	return fmt.Sprint(lab.TCPInfo(t, c).Sacked)
}

// recvBuffer is the effective receive buffer of a socket.
func recvBuffer(t *testing.T, c syscall.Conn) string {
	t.Helper()
	return lab.GetSockOpt(t, c, syscall.SOL_SOCKET, syscall.SO_RCVBUF)
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
	conn, _ := inprocess.AcceptedSocket(t, client)
	return c, inprocess.ListeningSocket(t, addr), conn
}
