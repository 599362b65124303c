package sockopt

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/internal/needed"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestClampedValueIsAWarning: one that names the sysctl, or the kernel.
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
		{"raw", rawBuffer(2), rawBuffer(4), "the kernel"},
		// 255 retransmissions, after 1s, 2s, 4s … and at most 120s each.
		{"defer_accept", always("8h18m7s"), always("8h18m8s"), "the kernel"},
	} {
		t.Run(test.option, func(t *testing.T) {
			limit, more := test.limit(t), test.more(t)
			c, _ := serve(t, "sockopt"+block(test.option+" "+limit))
			require.Empty(t, c.clamps(), "the limit itself is not clamped")

			status, answer := c.load("text/caddyfile", c.with("sockopt"+block(test.option+" "+more)))
			require.Equal(t, http.StatusOK, status, answer)
			require.Equal(t, []entry{{
				Message:   test.option + " is clamped by " + test.clampedBy,
				Option:    test.option,
				Requested: more,
				Effective: limit,
			}}, c.clamps())
			require.Equal(t, test.clampedBy, latestEffect(t).ClampedBy)
		})
	}
}

// clamps are the warnings without those of what this system ignores.
func (c *running) clamps() []entry {
	c.t.Helper()
	return slices.DeleteFunc(c.warnings(), func(e entry) bool { return strings.HasSuffix(e.Message, " has no effect") })
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

// rawBuffer is SO_RCVBUF, of which the kernel gives back twice its limit, by numbers.
func rawBuffer(factor int64) func(*testing.T) string {
	return func(t *testing.T) string {
		limit := kernelLimit(t, "net.core.rmem_max")
		if limit > math.MaxInt32/4 {
			t.Skipf("no buffer is larger than net.core.rmem_max, which is %d", limit)
		}
		return fmt.Sprintf("%d %d %d", syscall.SOL_SOCKET, syscall.SO_RCVBUF, factor*limit)
	}
}

// countLimit is a limit of the kernel and some more, as text.
func countLimit(sysctl string, more int64) func(*testing.T) string {
	return func(t *testing.T) string { return fmt.Sprint(kernelLimit(t, sysctl) + more) }
}

// latestEffect is what the kernel made of the one option in use.
func latestEffect(t *testing.T) effect {
	t.Helper()
	var active []activeUse
	require.Eventually(t, func() bool { // the configuration from before has gone
		active = activeListeners.now()
		return len(active) == 1
	}, patience, time.Millisecond)
	require.Len(t, active[0].Options, 1)
	return active[0].Options[0]
}

// TestRoundingIsSaid: values that the kernel counts in coarser units are rounded
// up, which is logged and shown.
func TestRoundingIsSaid(t *testing.T) {
	for _, test := range []struct {
		option, requested, effective string
		getsockopt                   string
	}{
		{"keepalive_idle", "1.5s", "2s", "2"},
		{"keepalive_interval", "1.001s", "2s", "2"},
		{"user_timeout", "1.5ms", "2ms", "2"},
		{"linger", "1ms", "1s", "1"}, // and not to 0, which resets
		{"fin_timeout", "1m0.001s", "1m1s", "61"},
		{"busy_poll", "1ns", "1us", "1"},
		{"defer_accept", "30s", "31s", "31"},
		{"recv_buffer", "1", "1152", "2304"}, // SOCK_MIN_RCVBUF in the kernel's include/net/sock.h
		{"window_clamp", "1", "1152", "1152"},

		// To the kernel's clock tick, which is no more than 10 ms.
		{"rto_min", "50.0001ms", "", ""},
		{"rto_max", "1.0001s", "", ""},
		{"delayed_ack_max", "41.0001ms", "", ""},
	} {
		t.Run(test.option, func(t *testing.T) {
			r := rowNamed(t, test.option)
			needKernel(t, r)
			c, _ := serve(t, "sockopt"+block(test.option+" "+test.requested))
			require.Empty(t, c.clamps())
			e := latestEffect(t)
			if test.effective == "" {
				requested, err := ParseDuration(test.requested)
				require.NoError(t, err)
				effective, err := ParseDuration(e.Effective)
				require.NoError(t, err)
				require.Greater(t, effective, requested)
				require.LessOrEqual(t, effective, requested+Duration(10*time.Millisecond))
			} else {
				require.Equal(t, test.effective, e.Effective)
				require.Equal(t, test.getsockopt, fmt.Sprint(*e.GetSockOpt))
			}
			require.Equal(t, test.requested, e.Requested)
			require.Empty(t, e.ClampedBy)
			require.Equal(t, []entry{{
				Message:   "the kernel rounds " + test.option,
				Option:    test.option,
				Requested: test.requested,
				Effective: e.Effective,
			}}, c.logged("info"))
		})
	}
}

// TestKernelRefuses: each refusal says which option and value it is, why, and what
// to do, and the running configuration goes on.
func TestKernelRefuses(t *testing.T) {
	const mend = "; leave the option out, or set on_unsupported warn"
	noSuch := socket.Raw(syscall.IPPROTO_TCP, 9999)
	for _, test := range []struct {
		line, want string
		change     func(*row)
	}{
		{line: "congestion foo", want: `congestion "foo": this kernel offers ` +
			strings.ReplaceAll(sysctl("net.ipv4.tcp_available_congestion_control"), " ", ", ")},
		{line: "delayed_ack_max 1ms", want: "delayed_ack_max 1ms: the kernel takes two clock ticks (8ms at 250 Hz) to 200ms"},
		{line: "rto_min 1ms", want: "rto_min 1ms: the kernel takes two clock ticks (8ms at 250 Hz) to 200ms"},
		{line: "raw 6 9999 1", want: "raw 6 9999 1: this kernel refuses level 6 option 9999: setsockopt: protocol not available"},
		{line: "raw 9999 1 1", want: "raw 9999 1 1: this kernel refuses level 9999 option 1: setsockopt: protocol not available"},
		{line: "raw 6 18 -1", want: "raw 6 18 -1: this kernel refuses level 6 option 18: setsockopt: invalid argument"},
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
			needKernel(t, rowNamed(t, name))
			if test.change != nil {
				change(t, name, test.change)
			}
			c, client := serve(t, "sockopt")
			status, answer := c.load("text/caddyfile", c.with("sockopt"+block(test.line)))
			require.Equal(t, http.StatusBadRequest, status)
			require.Contains(t, answer, jsonText("provision caddy.listeners.sockopt: "+test.want+mend))
			client.get(t)

			status, answer = c.load("text/caddyfile", c.with("sockopt"+block(test.line, "on_unsupported warn")))
			require.Equal(t, http.StatusOK, status, answer)
			c.reachable(t)
			require.Equal(t, []entry{{
				Message: "option left out: this system refuses it",
				Option:  name,
				Error:   test.want,
			}}, c.warnings())
			e := latestEffect(t)
			require.Equal(t, test.want, e.LeftOut)
			require.Empty(t, e.Effective)
		})
	}
}

// TestCapabilities has a Caddy without rights check configurations.
func TestCapabilities(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"priority 6", ""},
		{"priority 7", "priority 7: needs CAP_NET_ADMIN or CAP_NET_RAW"},
		{"mark 0x2a", "mark 0x2a: needs CAP_NET_ADMIN or CAP_NET_RAW"},
		{"congestion " + restricted(), "congestion " + restricted() + ": needs CAP_NET_ADMIN, unless net.ipv4.tcp_allowed_congestion_control names it: " +
			sysctl("net.ipv4.tcp_allowed_congestion_control")},
	} {
		t.Run(test.line, func(t *testing.T) {
			if test.line == "congestion " {
				t.Skip("this kernel offers no congestion control that is not allowed")
			}
			output, err := validateUnprivileged(t, wrappers("sockopt"+block(test.line)))
			if test.want == "" {
				require.NoError(t, err, output)
				return
			}
			require.Error(t, err)
			require.Contains(t, output, "provision caddy.listeners.sockopt: "+test.want+"; leave the option out, or set on_unsupported warn")

			output, err = validateUnprivileged(t, wrappers("sockopt"+block(test.line, "on_unsupported warn")))
			require.NoError(t, err, output)
			require.Contains(t, output, "option left out: this system refuses it")
			require.Contains(t, output, test.want)
		})
	}
}

// restricted is an algorithm that this kernel has and allows to few.
func restricted() string {
	allowed := strings.Fields(sysctl("net.ipv4.tcp_allowed_congestion_control"))
	for name := range strings.FieldsSeq(sysctl("net.ipv4.tcp_available_congestion_control")) {
		if !slices.Contains(allowed, name) {
			return name
		}
	}
	return ""
}

// validateUnprivileged is what caddy validate, run by nobody, says of global
// options.
func validateUnprivileged(t *testing.T, global string) (output string, err error) {
	t.Helper()
	const nobody = 65534
	// The test binary is where nobody else may look.
	cmd := exec.Command("/proc/self/exe", "validate", "--adapter", "caddyfile", "--config", "-")
	cmd.Stdin = strings.NewReader("{\nadmin off\npersist_config off\n" + global + "\n}\nhttp://127.0.0.1 {\n}\n")
	cmd.Env = append(os.Environ(), asCaddy+"=1", "HOME=/nonexistent", "XDG_DATA_HOME=", "XDG_CONFIG_HOME=")
	cmd.Dir = "/"
	switch {
	case os.Getuid() == 0:
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	case holds("CAP_NET_ADMIN"):
		needed.Missing(t, "not root, who could drop the capability")
	}
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// kernelLimit reads a limit of the kernel.
func kernelLimit(t *testing.T, name string) int64 {
	t.Helper()
	text := sysctl(name)
	if text == "" {
		needed.Missing(t, name+" is out of sight in this network namespace")
	}
	value, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err)
	return value
}

// TestRefusedOption has the kernel refuse what it does refuse: TCP_QUICKACK on an
// MPTCP listener.
func TestRefusedOption(t *testing.T) {
	const mptcp = 262 // IPPROTO_MPTCP
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, mptcp)
	if err != nil {
		needed.Missing(t, "this kernel has no MPTCP")
	}
	require.NoError(t, syscall.Close(fd))
	c, client := serve(t, "sockopt\n"+observe)
	change(t, "nodelay", func(r *row) { r.option, r.phases = socket.QuickAck, listen|accept })
	const refusal = "nodelay on: on this kernel listening sockets that speak MPTCP refuse TCP_QUICKACK; start Caddy with GODEBUG=multipathtcp=0"

	status, answer := c.load("text/caddyfile", c.with("sockopt"+block("nodelay on", "recv_buffer 64KiB")+"\n"+observe))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, answer, "provision caddy.listeners.sockopt: "+refusal+"; leave the option out, or set on_unsupported warn")
	client.get(t)

	status, answer = c.load("text/caddyfile", c.with("sockopt"+block("nodelay on", "recv_buffer 64KiB", "on_unsupported warn")+"\n"+observe))
	require.Equal(t, http.StatusOK, status, answer)
	require.Equal(t, []entry{{
		Message: "option left out: this system refuses it",
		Option:  "nodelay",
		Error:   refusal,
	}}, c.warnings())
	c.reachable(t)
	require.Equal(t, fmt.Sprint(2*64<<10), recvBuffer(t, listeningSocket(t, c.addr)), "the other options are set")
}

// TestResolve: what keeps acknowledging is not set as an option, too.
func TestResolve(t *testing.T) {
	for _, test := range []struct {
		name           string
		lines          string
		ack            socket.AckMode
		listen, accept []string
	}{
		{"bare", "", socket.AckAuto, nil, nil},
		{"quickack auto", "quickack auto", socket.AckAuto, nil, nil},
		{"quickack on", "quickack on", socket.AckOn, nil, nil},
		{"quickack off", "quickack off", socket.AckOff, nil, []string{"TCP_QUICKACK 0"}},
		{
			"in the order of the table", "send_buffer 64KiB\nnodelay on\nrecv_buffer 4KiB", socket.AckAuto,
			[]string{"SO_RCVBUF 4096", "SO_SNDBUF 65536"},
			[]string{"TCP_NODELAY 1", "SO_RCVBUF 4096", "SO_SNDBUF 65536"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := new(ListenerWrapper)
			require.NoError(t, unmarshal(w, "sockopt {\n"+test.lines+"\n}"))
			s, err := w.resolve(listen|accept, zap.NewNop())
			require.NoError(t, err)
			require.Equal(t, test.ack, s.ack)
			require.Equal(t, test.listen, texts(s.of[listen]))
			require.Equal(t, test.accept, texts(s.of[accept]))
		})
	}
}

func texts(settings []socket.Setting) (all []string) {
	for _, s := range settings {
		all = append(all, fmt.Sprint(s.Option.Name, " ", s.Value.Number))
	}
	return all
}

// TestSecondWrapper: a later sockopt sets its options on top, but the first one
// goes on acknowledging, and the second one says that it does not.
func TestSecondWrapper(t *testing.T) {
	c, client := serve(t, "sockopt"+block("nodelay off", "quickack on", "recv_buffer 64KiB")+
		"\nsockopt"+block("recv_buffer 96KiB")+"\n"+observe)
	client.get(t)
	conn := connect(t, c)
	require.Equal(t, "0", getsockopt(t, conn.accepted, syscall.IPPROTO_TCP, syscall.TCP_NODELAY))
	require.Equal(t, fmt.Sprint(2*96<<10), recvBuffer(t, conn.accepted))
	conn.finish(t)

	warnings := c.warnings()
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0].Message, "quickack and metrics have no effect here")
	require.Equal(t, "auto", warnings[0].QuickAck)
}

// TestFastOpenWithoutTheSysctl: the kernel takes TCP_FASTOPEN whatever the sysctl
// says, and does nothing with it unless the server's bit is there.
func TestFastOpenWithoutTheSysctl(t *testing.T) {
	const serverBit = 2
	bits := kernelLimit(t, "net.ipv4.tcp_fastopen")
	for _, test := range []struct {
		queue string
		inert bool
	}{{"16", bits&serverBit == 0}, {"0", false}} {
		c, _ := serve(t, "sockopt"+block("fastopen "+test.queue))
		e := latestEffect(t)
		require.Equal(t, test.queue, fmt.Sprint(*e.GetSockOpt))
		if !test.inert {
			require.Empty(t, e.NoEffect)
			require.Empty(t, c.warnings())
			continue
		}
		require.Equal(t, fmt.Sprintf("net.ipv4.tcp_fastopen is %d: set it to %d", bits, bits|serverBit), e.NoEffect)
		require.Len(t, c.warnings(), 1)
		require.Equal(t, "fastopen has no effect", c.warnings()[0].Message)
	}
}

// TestRefusedByMPTCPOnly: the mend is to listen without MPTCP, and not a later
// kernel.
func TestRefusedByMPTCPOnly(t *testing.T) {
	r := rowNamed(t, "fastopen")
	u := use{text: "16", setting: socket.Setting{Option: r.option}}
	require.EqualError(t, r.refusal(u, errors.Join(errOnlyMPTCP, syscall.ENOPROTOOPT)),
		"fastopen 16: on this kernel listening sockets that speak MPTCP refuse TCP_FASTOPEN; start Caddy with GODEBUG=multipathtcp=0")
}

// TestRawIsSetWhereItIsTaken: what a listening socket alone takes is set on no
// connection, which would refuse it.
func TestRawIsSetWhereItIsTaken(t *testing.T) {
	fastOpen := fmt.Sprintf("raw %d %d 256", syscall.IPPROTO_TCP, tcpFastOpen)
	for _, test := range []struct {
		line   string
		phases []string
	}{
		{fastOpen, []string{"listen"}},
		{"raw 1 8 65536", []string{"listen", "accept"}},
	} {
		t.Run(test.line, func(t *testing.T) {
			c, _, conn := runningSockets(t, "sockopt"+block(test.line)+"\n"+observe)
			require.Equal(t, test.phases, latestEffect(t).Phases)
			require.Empty(t, c.warnings())
			require.Empty(t, activeListeners.now()[0].Counters.Refused)
			if test.line == fastOpen {
				require.Equal(t, "0", getsockopt(t, conn, syscall.IPPROTO_TCP, tcpFastOpen))
			}
		})
	}
	_, err := Options{Raw: []RawOption{rawNumbers(syscall.IPPROTO_TCP, tcpFastOpen, 256)}}.resolve(dial, zap.NewNop())
	require.EqualError(t, err, "raw 6 23 256: this kernel refuses level 6 option 23: setsockopt: invalid argument"+
		"; leave the option out, or set on_unsupported warn")
}

func rawNumbers(level, option, value Number) RawOption { return RawOption{&level, &option, &value} }

// TestWindowClampLasts holds what is said of window_clamp at load against a
// connection of the running Caddy: whether the clamp outlasts a request.
func TestWindowClampLasts(t *testing.T) {
	for _, lines := range [][]string{
		{"window_clamp 48KiB"},
		{"recv_buffer 256KiB", "window_clamp 48KiB"},
	} {
		t.Run(strings.Join(lines, ", "), func(t *testing.T) {
			addr := address(t)
			c := run(t, wrappers("sockopt"+block(lines...)+"\n"+observe), echoSite(addr))
			client, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer client.Close()
			conn, _ := acceptedSocket(t, client)
			clamp := func() string { return getsockopt(t, conn, syscall.IPPROTO_TCP, syscall.TCP_WINDOW_CLAMP) }
			require.Equal(t, "49152", clamp())
			const size = 64 << 10
			_, err = fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", addr, size, strings.Repeat("x", size))
			require.NoError(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(client), nil)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			lasts := clamp() == "49152"

			effects := activeListeners.now()[0].Options
			said := effects[len(effects)-1].NoEffect
			t.Logf("TCP_WINDOW_CLAMP is %s after 64 KiB; said was %q", clamp(), said)
			require.Equal(t, lasts, said == "")
			if lasts {
				require.Empty(t, c.warnings())
				return
			}
			require.Equal(t, "this kernel sets it anew as bytes arrive; recv_buffer bounds the window, roughly", said)
			require.Len(t, c.warnings(), 1)
			require.Equal(t, "window_clamp has no effect", c.warnings()[0].Message)
		})
	}
}
