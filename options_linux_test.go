package sockopt

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/needed"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// inKernel is where the kernel keeps an option, by numbers of the kernel's
// headers, and what is read there.
type inKernel struct {
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
	"nodelay":            {level: syscall.IPPROTO_TCP, number: syscall.TCP_NODELAY, effective: "0"},
	"quickack":           {level: syscall.IPPROTO_TCP, number: syscall.TCP_QUICKACK, effective: "0"},
	"delayed_ack_max":    {level: syscall.IPPROTO_TCP, number: tcpDelayedAck, effective: "40000"},
	"notsent_lowat":      {level: syscall.IPPROTO_TCP, number: tcpNotSentLowat, effective: "131072"},
	"cork":               {level: syscall.IPPROTO_TCP, number: syscall.TCP_CORK, effective: "1"},
	"busy_poll":          {level: syscall.SOL_SOCKET, number: soBusyPoll, effective: "50"},
	"recv_buffer":        {level: syscall.SOL_SOCKET, number: syscall.SO_RCVBUF, effective: "196608"}, // doubled: socket(7)
	"send_buffer":        {level: syscall.SOL_SOCKET, number: syscall.SO_SNDBUF, effective: "393216"}, // doubled: socket(7)
	"congestion":         {level: syscall.IPPROTO_TCP, number: syscall.TCP_CONGESTION, effective: "reno", read: readText},
	"pacing_rate":        {level: syscall.SOL_SOCKET, number: soPacingRate, effective: "10485760"},
	"window_clamp":       {level: syscall.IPPROTO_TCP, number: syscall.TCP_WINDOW_CLAMP, effective: "49152"},
	"max_segment":        {level: syscall.IPPROTO_TCP, number: syscall.TCP_MAXSEG, effective: "1200", inherited: "1188"}, // less 12 for timestamps
	"thin_stream":        {level: syscall.IPPROTO_TCP, number: tcpThinLinear, effective: "1"},
	"keepalive":          {level: syscall.SOL_SOCKET, number: syscall.SO_KEEPALIVE, effective: "0"},
	"keepalive_idle":     {level: syscall.IPPROTO_TCP, number: syscall.TCP_KEEPIDLE, effective: "120"},
	"keepalive_interval": {level: syscall.IPPROTO_TCP, number: syscall.TCP_KEEPINTVL, effective: "7"},
	"keepalive_count":    {level: syscall.IPPROTO_TCP, number: syscall.TCP_KEEPCNT, effective: "5"},
	"user_timeout":       {level: syscall.IPPROTO_TCP, number: tcpUserTimeout, effective: "30000"},
	"linger":             {level: syscall.SOL_SOCKET, number: syscall.SO_LINGER, effective: "1 5", read: readLinger},
	"fin_timeout":        {level: syscall.IPPROTO_TCP, number: syscall.TCP_LINGER2, effective: "30"},
	"rto_min":            {level: syscall.IPPROTO_TCP, number: tcpRTOMin, effective: "60000"},
	"rto_max":            {level: syscall.IPPROTO_TCP, number: tcpRTOMax, effective: "10000"},
	"dscp":               {level: syscall.IPPROTO_IP, number: syscall.IP_TOS, effective: "184"},
	"priority":           {level: syscall.SOL_SOCKET, number: syscall.SO_PRIORITY, effective: "3"},
	"mark":               {level: syscall.SOL_SOCKET, number: soMark, effective: "42"},
	"ttl":                {level: syscall.IPPROTO_IP, number: syscall.IP_TTL, effective: "42"},
	"backlog":            {level: syscall.IPPROTO_TCP, number: syscall.TCP_INFO, effective: "7", read: readBacklog},
	"defer_accept":       {level: syscall.IPPROTO_TCP, number: syscall.TCP_DEFER_ACCEPT, effective: "3"},
	"fastopen":           {level: syscall.IPPROTO_TCP, number: tcpFastOpen, effective: "16"},
	"raw":                {level: syscall.IPPROTO_TCP, number: tcpUserTimeout, effective: "30000"},
}

// of reads the option from a socket.
func (k inKernel) of(t *testing.T, c syscall.Conn) string {
	t.Helper()
	if k.read == nil {
		return getsockopt(t, c, k.level, k.number)
	}
	return k.read(t, c, k.level, k.number)
}

// needKernel skips the test where this kernel is too old for the option. Where this
// process has not the right to it, that is missing. Any other refusal fails the test.
func needKernel(t *testing.T, r row) {
	t.Helper()
	if !kernelHas(r.since) {
		t.Skipf("%s needs Linux %s", r.name, r.since)
	}
	if _, err := socket.Try(false, r.uses(sampleOf(t, r), r.option)[0].setting); r.capability != "" && !holds(r.capability) && err != nil {
		needed.Missing(t, fmt.Sprintf("%s needs %s", r.name, r.capability))
	}
}

func sampleOf(t *testing.T, r row) *Options {
	t.Helper()
	_, o := expect(t, r)
	return o
}

// TestRowsReachTheKernel sets each option through a running Caddy, reads it back
// from the sockets that Caddy has then, and has it printed again.
func TestRowsReachTheKernel(t *testing.T) {
	for _, r := range rows {
		if r.option.Name == "" {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			want, o := expect(t, r)
			kernel, ok := kernelHolds[r.name]
			require.True(t, ok, "%s needs a line in kernelHolds", r.name)
			needKernel(t, r)
			if r.phases&(listen|accept) == 0 {
				conn, _ := tcpPair(t)
				require.NotEqual(t, kernel.effective, kernel.of(t, conn))
				refused, err := socket.Set(conn, []socket.Setting{r.uses(o, r.option)[0].setting})
				require.NoError(t, err)
				require.Empty(t, refused)
				require.Equal(t, kernel.effective, kernel.of(t, conn))
				return
			}

			ln, conn := sockets(t, observe)
			onListener, onConn := kernel.of(t, ln), kernel.of(t, conn)
			if r.phases&accept != 0 {
				require.NotEqual(t, kernel.effective, onConn, "the sample must differ from what a connection has without it")
				onConn = kernel.effective
			}
			if (r.phases&listen != 0 || r.given == byEither) && !r.repeats() {
				require.NotEqual(t, kernel.effective, onListener, "the sample must differ from what a listener has without it")
				onListener = kernel.effective
			}
			if kernel.inherited != "" {
				require.NotEqual(t, kernel.inherited, onConn)
				onConn = kernel.inherited
			}

			line := r.name + " " + want.sample
			c, ln, conn := runningSockets(t, "sockopt"+block(line)+"\n"+observe)
			require.Equal(t, onConn, kernel.of(t, conn), "on the accepted connection")
			require.Equal(t, onListener, kernel.of(t, ln), "on the listening socket")

			require.Empty(t, c.clamps())
			require.Empty(t, c.logged("info"))
			_, value := c.api(http.MethodGet, listenerWrapper+"/"+r.name, "", "")
			again := new(Options)
			require.NoError(t, json.Unmarshal(fmt.Appendf(nil, `{"%s":%s}`, r.name, value), again))
			require.Equal(t, line+"\n", again.caddyfile())
			active := activeListeners.now()
			require.Len(t, active, 1)
			require.Len(t, active[0].Options, 1)
			require.Equal(t, r.name, active[0].Options[0].Option)
			require.Equal(t, want.sample, active[0].Options[0].Requested)
			require.Equal(t, want.sample, active[0].Options[0].Effective)
		})
	}
}

// TestBothFamilies: a dual-stack socket has the options of IPv4 and of IPv6,
// whichever of them its client speaks.
func TestBothFamilies(t *testing.T) {
	needIPv6(t)
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
			port := fmt.Sprint(port(t))
			c := run(t, wrappers("sockopt"+block("dscp ef", "ttl 42")+"\n"+observe), "http://:"+port+" {\n"+test.bind+"\n}")
			client, err := net.Dial("tcp", net.JoinHostPort(test.client, port))
			require.NoError(t, err)
			defer client.Close()
			conn, _ := acceptedSocket(t, client)
			require.Equal(t, "184", getsockopt(t, conn, syscall.IPPROTO_IP, syscall.IP_TOS))
			require.Equal(t, "42", getsockopt(t, conn, syscall.IPPROTO_IP, syscall.IP_TTL))
			require.Equal(t, test.class, getsockopt(t, conn, syscall.IPPROTO_IPV6, ipv6Class))
			require.Equal(t, test.hops, getsockopt(t, conn, syscall.IPPROTO_IPV6, ipv6Hops))
			require.Empty(t, c.warnings())
		})
	}
}

// readBytes reads an option that is no int, or says why there is none.
func readBytes(t *testing.T, c syscall.Conn, level, number int, value []byte) (err error) {
	t.Helper()
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	size := uint32(len(value))
	require.NoError(t, raw.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, uintptr(level), uintptr(number),
			uintptr(unsafe.Pointer(&value[0])), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // package syscall has no getsockopt for bytes
		if errno != 0 {
			err = errno
		}
	}))
	return err
}

func readText(t *testing.T, c syscall.Conn, level, number int) string {
	t.Helper()
	name := make([]byte, 16)
	require.NoError(t, readBytes(t, c, level, number, name))
	return string(bytes.TrimRight(name, "\x00"))
}

// readLinger reads a struct linger: on or off, and seconds.
func readLinger(t *testing.T, c syscall.Conn, level, number int) string {
	t.Helper()
	value := make([]byte, 8)
	require.NoError(t, readBytes(t, c, level, number, value))
	return fmt.Sprint(binary.NativeEndian.Uint32(value), " ", binary.NativeEndian.Uint32(value[4:]))
}

// readBacklog reads the length of a listener's queue: tcpi_sacked in the kernel's
// struct tcp_info, after eight bytes and five ints.
func readBacklog(t *testing.T, c syscall.Conn, level, number int) string {
	t.Helper()
	info := make([]byte, 104)
	require.NoError(t, readBytes(t, c, level, number, info))
	return fmt.Sprint(binary.NativeEndian.Uint32(info[28:]))
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
	_, ln, conn := runningSockets(t, lines)
	return ln, conn
}

// runningSockets are the sockets with their Caddy.
func runningSockets(t *testing.T, lines string) (*running, *net.TCPListener, *net.TCPConn) {
	t.Helper()
	addr := address(t)
	c := run(t, wrappers(lines), fmt.Sprintf("http://%s {\necho_payload\n}", addr))
	client, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	conn, _ := acceptedSocket(t, client)
	return c, listeningSocket(t, addr), conn
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
