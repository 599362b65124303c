package options

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
	"github.com/caddy-sockopt/caddy-sockopt/socket/trial"
)

// TestClampedValueIsAWarning: one that names the sysctl, or the kernel. With
// CAP_NET_ADMIN no sysctl clamps a buffer.
func TestClampedValueIsAWarning(t *testing.T) {
	for _, test := range []struct {
		option    string
		limit     func(*testing.T) string
		more      func(*testing.T) string
		clampedBy string
	}{
		{"recv_buffer", sizeLimit("net.core.rmem_max", 1), sizeLimit("net.core.rmem_max", 2), "net.core.rmem_max"},
		{"send_buffer", sizeLimit("net.core.wmem_max", 1), sizeLimit("net.core.wmem_max", 2), "net.core.wmem_max"},
		{"backlog", countLimit("net.core.somaxconn", 0), countLimit("net.core.somaxconn", 1), "net.core.somaxconn"},
		{"fastopen", countLimit("net.core.somaxconn", 0), countLimit("net.core.somaxconn", 1), "net.core.somaxconn"},
		{"fin_timeout", always("2m"), always("2m1s"), "the kernel"},
		{"raw", always("6 17 0"), always("6 17 1"), "the kernel"}, // TCP_THIN_DUPACK, which has no effect any more
		// 255 retransmissions, after 1s, 2s, 4s … and at most 120s each.
		{"defer_accept", always("8h18m7s"), always("8h18m8s"), "the kernel"},
	} {
		t.Run(test.option, func(t *testing.T) {
			limit, more := test.limit(t), test.more(t)
			r := rowNamed(t, test.option)
			listenPlain(t, r)
			phases := r.phases &^ Packet // where quic-go wants 3.5 MiB
			_, logged, err := resolve(t, phases, test.option+" "+limit)
			require.NoError(t, err)
			require.Empty(t, lasting(logged), "the limit itself is not clamped")

			resolved, logged, err := resolve(t, phases, test.option+" "+more)
			require.NoError(t, err)
			if strings.HasSuffix(test.option, "_buffer") && socket.HasCapability("CAP_NET_ADMIN") {
				require.Empty(t, lasting(logged))
				require.Empty(t, resolved.Effects[0].ClampedBy)
				require.Equal(t, more, resolved.Effects[0].Effective)
				return
			}
			message := test.option + " is clamped by " + test.clampedBy
			if strings.HasSuffix(test.option, "_buffer") {
				message += ": raise that, or give Caddy CAP_NET_ADMIN; nothing else helps"
			}
			require.Equal(t, []entry{{
				zap.WarnLevel, message, test.option, more, limit, "",
			}}, lasting(logged))
			require.Equal(t, test.clampedBy, resolved.Effects[0].ClampedBy)
			require.Equal(t, limit, resolved.Effects[0].Effective)
		})
	}
}

// lasting are the entries without those of what this system ignores.
func lasting(entries []entry) []entry {
	return slices.DeleteFunc(entries, func(e entry) bool { return strings.HasSuffix(e.message, " has no effect") })
}

func always(text string) func(*testing.T) string { return func(*testing.T) string { return text } }

// sizeLimit is a multiple of a limit of the kernel, as text.
func sizeLimit(sysctl string, factor Size) func(*testing.T) string {
	return func(t *testing.T) string {
		limit := Size(kernelLimit(t, sysctl))
		if limit > math.MaxInt32/2 {
			t.Skipf("no buffer is larger than %s, which is %d", sysctl, limit)
		}
		return (factor * limit).String()
	}
}

// countLimit is a limit of the kernel and some more, as text.
func countLimit(sysctl string, more int64) func(*testing.T) string {
	return func(t *testing.T) string { return fmt.Sprint(kernelLimit(t, sysctl) + more) }
}

// kernelLimit reads a limit of the kernel.
func kernelLimit(t *testing.T, name string) int64 {
	t.Helper()
	text := socket.Sysctl(name)
	if text == "" {
		lab.Missing(t, name+" cannot be read in this network namespace")
	}
	value, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err)
	return value
}

// TestRounding: values that the kernel counts in coarser units are rounded up, which is
// logged and shown.
func TestRounding(t *testing.T) {
	for _, test := range []struct {
		option, requested, effective string
		getsockopt                   int64
	}{
		{"keepalive_idle", "1.5s", "2s", 2},
		{"keepalive_interval", "1.001s", "2s", 2},
		{"user_timeout", "2.0005s", "2.001s", 2001},
		{"fin_timeout", "1m0.001s", "1m1s", 61},
		{"busy_poll", "1ns", "1us", 1},
		{"defer_accept", "30s", "31s", 31},

		// To the kernel's clock tick, which is no more than 10 ms.
		{"rto_min", "50.0001ms", "", 0},
		{"rto_max", "1.0001s", "", 0},
		{"delayed_ack_max", "41.0001ms", "", 0},
	} {
		t.Run(test.option, func(t *testing.T) {
			r := rowNamed(t, test.option)
			requireKernel(t, r)
			resolved, logged, err := resolve(t, r.phases&^Route, test.option+" "+test.requested)
			require.NoError(t, err)
			e := resolved.Effects[0]
			if test.effective == "" {
				requested, err := ParseDuration(test.requested)
				require.NoError(t, err)
				effective, err := ParseDuration(e.Effective)
				require.NoError(t, err)
				require.Greater(t, effective, requested)
				require.LessOrEqual(t, effective, requested+Duration(10*time.Millisecond))
			} else {
				require.Equal(t, test.effective, e.Effective)
				require.Equal(t, test.getsockopt, *e.GetSockOpt)
			}
			require.Equal(t, test.requested, e.Requested)
			require.Empty(t, e.ClampedBy)
			require.Equal(t, []entry{{
				zap.InfoLevel, "the kernel rounds " + test.option, test.option, test.requested, e.Effective, "",
			}}, lasting(logged))
		})
	}
}

// TestCautions: what is likely to go wrong with a value is logged and shown.
func TestCautions(t *testing.T) {
	const waits = "each connection that is closed with unsent bytes waits in a thread of the process, and Go ends a process with 10,000 threads"
	for _, test := range []struct{ line, effective, caution string }{
		{"linger 0s", "0s", "closing a connection drops what the client has not received yet, also the end of a response"},
		{"linger 5s", "5s", waits},
		{"linger 1ms", "1s", waits},                                      // rounded up, and not to 0, which resets
		{"window_clamp 1", "1152", "the kernel takes no less than 1152"}, // SOCK_MIN_RCVBUF in the kernel's include/net/sock.h
		{"recv_buffer 256", "1152", "the kernel takes no less than 1152; did you mean 256KiB?"},
		{"recv_buffer 48KiB", "48KiB", "it holds less than two segments over loopback (65483 bytes each), which slows or nearly stops what a client or " +
			"backend on this machine sends; 64KiB is enough"},
		{"recv_buffer 64KiB", "64KiB", ""},
	} {
		t.Run(test.line, func(t *testing.T) {
			resolved, logged, err := resolve(t, Accept, test.line)
			require.NoError(t, err)
			e := resolved.Effects[0]
			require.Equal(t, test.caution, e.Caution)
			require.Equal(t, test.effective, e.Effective)
			if test.caution == "" {
				require.Empty(t, logged)
				return
			}
			require.Contains(t, logged, entry{zap.WarnLevel, e.Option + ": " + test.caution, e.Option, e.Requested, test.effective, ""})
		})
	}
}

// TestRawThatHoldsUpData: a raw option with which a connection does not deliver data in
// time is refused, or left out.
func TestRawThatHoldsUpData(t *testing.T) {
	for _, test := range []struct {
		name               string
		level, option, val int
	}{
		{"TCP_REPAIR", unix.IPPROTO_TCP, unix.TCP_REPAIR, 1},
		{"SO_RCVLOWAT", unix.SOL_SOCKET, unix.SO_RCVLOWAT, 100_000},
		{"IP_MINTTL", unix.IPPROTO_IP, unix.IP_MINTTL, 255},
		{"IPV6_MINHOPCOUNT", unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT, 255},
	} {
		t.Run(test.name, func(t *testing.T) {
			switch {
			case test.name == "TCP_REPAIR" && !socket.HasCapability("CAP_NET_ADMIN"):
				lab.Missing(t, "TCP_REPAIR needs CAP_NET_ADMIN")
			case test.level == unix.IPPROTO_IPV6:
				lab.RequireIPv6(t)
			}
			line := fmt.Sprintf("raw %d %d %d", test.level, test.option, test.val)
			_, _, err := resolve(t, Accept, line)
			require.ErrorContains(t, err, line+": ")
			require.ErrorContains(t, err, "a connection with it ")
			require.ErrorContains(t, err, fix)
			resolved, logged, err := resolve(t, Route, line, "on_unsupported warn")
			require.NoError(t, err)
			require.Equal(t, []string{"option left out: this system refuses it"}, messages(logged))
			require.Empty(t, resolved.Settings[Route])
			require.Empty(t, resolved.Overrides)
		})
	}
}

// TestOptionsThatHoldUpData: options that together hold up data are warned of.
func TestOptionsThatHoldUpData(t *testing.T) {
	const heldUp = "these options together hold up data on a connection over loopback"
	for _, test := range []struct {
		lines []string
		warns bool
	}{
		{[]string{"recv_buffer 1"}, true},
		{[]string{"recv_buffer 256", "notsent_lowat 1"}, true},
		{[]string{"pacing_rate 1"}, true},
		{[]string{"send_buffer 256KiB", "pacing_rate 10"}, true},
		{[]string{"recv_buffer 256KiB", "send_buffer 256KiB", "nodelay on"}, false},
		{[]string{"notsent_lowat 16KiB", "pacing_rate 10MiB", "nodelay off"}, false},
	} {
		t.Run(strings.Join(test.lines, ", "), func(t *testing.T) {
			_, logged, err := resolve(t, Accept, test.lines...)
			require.NoError(t, err)
			require.Equal(t, test.warns, slices.Contains(messages(logged), heldUp), logged)
		})
	}
	_, logged, err := resolve(t, Route, "cork on", "notsent_lowat 16KiB")
	require.NoError(t, err)
	require.Empty(t, logged, "cork ends with the response")
	_, logged, err = resolve(t, Route, "pacing_rate 50KiB")
	require.NoError(t, err)
	require.Empty(t, logged, "pacing_rate is to hold data up")
}

func messages(logged []entry) (all []string) {
	for _, e := range logged {
		all = append(all, e.message)
	}
	return all
}

// TestKernelRefuses: each refusal says which option and value it is, why, and what to
// do.
func TestKernelRefuses(t *testing.T) {
	noSuch := socket.Raw(unix.IPPROTO_TCP, 9999)
	for _, test := range []struct {
		line, want string
		change     func(*row)
	}{
		{line: "congestion foo", want: `congestion "foo": this kernel offers ` +
			strings.ReplaceAll(socket.Sysctl("net.ipv4.tcp_available_congestion_control"), " ", ", ")},
		{line: "congestion CUBIC", want: `congestion "CUBIC": this kernel offers ` +
			strings.ReplaceAll(socket.Sysctl("net.ipv4.tcp_available_congestion_control"), " ", ", ") + " (did you mean cubic?)"},
		{line: "delayed_ack_max 1ms", want: "delayed_ack_max 1ms: the kernel takes two clock ticks (8ms at 250 Hz) to 200ms"},
		{line: "rto_min 1ms", want: "rto_min 1ms: the kernel takes two clock ticks (8ms at 250 Hz) to 200ms"},
		{line: "raw 6 9999 1", want: "raw 6 9999 1: this kernel refuses level 6 option 9999: setsockopt: protocol not available"},
		{line: "raw 9999 1 1", want: "raw 9999 1 1: this kernel refuses level 9999 option 1: setsockopt: protocol not available"},
		{line: "raw 0 10 9", want: "raw 0 10 9: this kernel refuses level 0 option 10: setsockopt: invalid argument"},
		{
			line:   "priority 3",
			want:   "priority 3: needs Linux 99.0, this is " + socket.KernelRelease(),
			change: func(r *row) { r.option, r.since = noSuch, "99.0" },
		},
		{
			line:   "priority 3",
			want:   "priority 3: this kernel refuses level 6 option 9999: setsockopt: protocol not available",
			change: func(r *row) { r.option = noSuch },
		},
	} {
		t.Run(test.line, func(t *testing.T) {
			name, _, _ := strings.Cut(test.line, " ")
			if name == "congestion" && socket.Sysctl("net.ipv4.tcp_available_congestion_control") == "" {
				lab.Missing(t, "/proc/sys cannot be read")
			}
			requireKernel(t, rowNamed(t, name))
			if test.change != nil {
				change(t, name, test.change)
			}
			requireRefused(t, test.want, Accept, test.line, "recv_buffer 64KiB")
		})
	}
}

// TestRefusedByMPTCPAlone: the fix is to listen without MPTCP, and not a later kernel.
func TestRefusedByMPTCPAlone(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	if err != nil {
		lab.MissingMPTCP(t)
	}
	require.NoError(t, unix.Close(fd))
	change(t, "nodelay", func(r *row) { r.option, r.phases = socket.QuickAck, Listen|Accept })
	requireRefused(t,
		"nodelay on: on this kernel listening sockets that speak MPTCP refuse TCP_QUICKACK: needs multipath off, or start Caddy with GODEBUG=multipathtcp=0",
		Listen|Accept, "nodelay on", "recv_buffer 64KiB")
}

// TestCapabilities resolves without the rights of a privileged process.
func TestCapabilities(t *testing.T) {
	restricted := restrictedCongestion()
	for _, test := range []struct{ line, want string }{
		{"priority 6", ""},
		{"priority 7", "priority 7: needs CAP_NET_ADMIN or CAP_NET_RAW, which this user lacks"},
		{"mark 0x2a", "mark 0x2a: needs CAP_NET_ADMIN or CAP_NET_RAW, which this user lacks"},
		{"congestion " + restricted, "congestion " + restricted + ": needs CAP_NET_ADMIN, which this user lacks, unless net.ipv4.tcp_allowed_congestion_control lists it: " +
			socket.Sysctl("net.ipv4.tcp_allowed_congestion_control")},
	} {
		t.Run(test.line, func(t *testing.T) {
			if test.line == "congestion " {
				t.Skip("this kernel offers no congestion control that is not allowed")
			}
			unprivileged(t)
			if test.want == "" {
				_, logged, err := resolve(t, Accept, test.line)
				require.NoError(t, err)
				require.Empty(t, logged)
				return
			}
			requireRefused(t, test.want, Accept, test.line)
		})
	}
}

// unprivileged takes the network capabilities from the thread of the test until it ends.
func unprivileged(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &before[0]))
	without := before
	without[0].Effective &^= 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW
	require.NoError(t, unix.Capset(&header, &without[0]))
	t.Cleanup(func() { require.NoError(t, unix.Capset(&header, &before[0])) })
}

// restrictedCongestion is an algorithm that this kernel has and allows to few.
func restrictedCongestion() string {
	allowed := strings.Fields(socket.Sysctl("net.ipv4.tcp_allowed_congestion_control"))
	for name := range strings.FieldsSeq(socket.Sysctl("net.ipv4.tcp_available_congestion_control")) {
		if !slices.Contains(allowed, name) {
			return name
		}
	}
	return ""
}

// TestFastOpenWithoutTheSysctl: the kernel takes TCP_FASTOPEN whatever the sysctl
// says, and ignores it unless the server's bit is set.
func TestFastOpenWithoutTheSysctl(t *testing.T) {
	listenPlain(t, rowNamed(t, "fastopen"))
	const serverBit = 2
	bits := kernelLimit(t, "net.ipv4.tcp_fastopen")
	for _, test := range []struct {
		queue   string
		ignored bool
	}{{"16", bits&serverBit == 0}, {"0", false}} {
		resolved, logged, err := resolve(t, Listen, "fastopen "+test.queue)
		require.NoError(t, err)
		require.Equal(t, test.queue, resolved.Effects[0].Effective)
		requireNoEffect(t, test.ignored, fmt.Sprintf("net.ipv4.tcp_fastopen is %d: set it to %d", bits, bits|serverBit), resolved, logged)
	}
}

// requireNoEffect requires that the last option has no effect, for a reason, which is
// logged; or that it has.
func requireNoEffect(t testing.TB, ignored bool, reason string, resolved Resolved, logged []entry) {
	t.Helper()
	e := resolved.Effects[len(resolved.Effects)-1]
	if !ignored {
		require.Empty(t, e.NoEffect)
		require.Empty(t, logged)
		return
	}
	require.Equal(t, reason, e.NoEffect)
	require.Equal(t, []entry{{zap.WarnLevel, e.Option + " has no effect", e.Option, e.Requested, e.Effective, ""}}, logged)
}

// TestWindowClampLasts compares what is said of window_clamp at load with a connection:
// whether the kernel leaves the clamp alone when bytes arrive.
func TestWindowClampLasts(t *testing.T) {
	for _, lines := range [][]string{
		{"window_clamp 48KiB"},
		{"recv_buffer 256KiB", "window_clamp 48KiB"},
	} {
		t.Run(strings.Join(lines, ", "), func(t *testing.T) {
			resolved, logged, err := resolve(t, Accept, lines...)
			require.NoError(t, err)
			_, conn, peer := sockets(t)
			refused, err := socket.Set(conn, resolved.Settings[Accept])
			require.NoError(t, err)
			require.Empty(t, refused)
			go func() { _, _ = peer.Write(bytes.Repeat([]byte("x"), 64<<10)) }()
			_, err = io.CopyN(io.Discard, conn, 64<<10)
			require.NoError(t, err)
			clamp, err := socket.Get(conn, socket.WindowClamp)
			require.NoError(t, err)
			t.Logf("TCP_WINDOW_CLAMP is %d after 64 KiB", clamp.Number)
			requireNoEffect(t, clamp.Number != 48<<10, "this kernel changes it when bytes arrive; recv_buffer bounds the window, roughly", resolved, logged)
		})
	}
}

// TestRawIsSetWhereItIsTaken: what a listening socket alone takes is set on no
// connection, which would refuse it.
func TestRawIsSetWhereItIsTaken(t *testing.T) {
	noCookie := fmt.Sprintf("raw %d %d 1", unix.IPPROTO_TCP, unix.TCP_FASTOPEN_NO_COOKIE)
	mtu := fmt.Sprintf("raw %d %d 0", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER)
	t.Setenv("GODEBUG", "multipathtcp=0")
	for _, test := range []struct {
		line   string
		phases []string
	}{
		{noCookie, []string{"listen"}},
		{mtu, []string{"listen", "accept"}},
	} {
		t.Run(test.line, func(t *testing.T) {
			resolved, logged, err := resolve(t, Listen|Accept, test.line)
			require.NoError(t, err)
			require.Empty(t, logged)
			require.Equal(t, test.phases, resolved.Effects[0].Phases)
			for _, p := range phases[:2] {
				require.Equal(t, slices.Contains(test.phases, p.name), len(resolved.Settings[p.Phase]) == 1, p.name)
			}
		})
	}
	requireRefused(t, "raw 6 34 1: this kernel refuses level 6 option 34: setsockopt: invalid argument", Route, noCookie)
}

// requireKernel skips the test where this kernel is too old for an option and has not
// got it. Where this process has no right to it, that is missing. Any other refusal fails
// the test.
func requireKernel(t testing.TB, r row) {
	t.Helper()
	_, o := expect(t, r)
	_, err := trial.Try(r.phases.each()[0].scratch, r.effects(o)[0].setting)
	switch {
	case isMissing(err) && !socket.KernelHas(r.since):
		t.Skipf("%s needs Linux %s", r.name, r.since)
	case errors.Is(err, syscall.EPERM):
		lab.Missing(t, fmt.Sprintf("this process may not set %s", r.name))
	}
}

// listenPlain has the test listen without MPTCP where the listening MPTCP sockets of
// this kernel are too old for an option.
func listenPlain(t *testing.T, r row) {
	t.Helper()
	if r.tooOldForMPTCP() {
		t.Setenv("GODEBUG", "multipathtcp=0")
	}
}

// sockets returns a listening socket as Go opens it, a connection that it accepted, and
// the client's side of it.
func sockets(t testing.TB) (ln *net.TCPListener, accepted, dialed *net.TCPConn) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	server, err := ln.AcceptTCP()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	return ln, server, client.(*net.TCPConn)
}
