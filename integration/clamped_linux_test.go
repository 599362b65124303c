package integration_test

import (
	"bufio"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/options"
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
			c, _ := serve(t, "sockopt"+lab.Block(test.option+" "+limit))
			require.Empty(t, clamps(t, c.Running), "the limit itself is not clamped")

			status, answer := c.Load("text/caddyfile", c.with("sockopt"+lab.Block(test.option+" "+more)))
			require.Equal(t, http.StatusOK, status, answer)
			require.Equal(t, []lab.Entry{{
				Message:   test.option + " is clamped by " + test.clampedBy,
				Option:    test.option,
				Requested: more,
				Effective: limit,
			}}, clamps(t, c.Running))
			require.Equal(t, test.clampedBy, latestEffect(t, c.Running).ClampedBy)
		})
	}
}

// clamps are the warnings without those of what this system ignores.
func clamps(t testing.TB, c *lab.Running) []lab.Entry {
	t.Helper()
	return slices.DeleteFunc(c.Warnings(), func(e lab.Entry) bool { return strings.HasSuffix(e.Message, " has no effect") })
}

func always(text string) func(*testing.T) string { return func(*testing.T) string { return text } }

// sizeLimit is a multiple of a limit of the kernel, as text.
func sizeLimit(sysctl string, factor options.Size) func(*testing.T) string {
	return func(t *testing.T) string {
		limit := options.Size(lab.SysctlNumber(t, sysctl))
		if limit > math.MaxInt32/2 {
			t.Skipf("no buffer is larger than %s, which is %d", sysctl, limit)
		}
		return (factor * limit).String()
	}
}

// rawBuffer is SO_RCVBUF, of which the kernel gives back twice its limit, by numbers.
func rawBuffer(factor int64) func(*testing.T) string {
	return func(t *testing.T) string {
		limit := lab.SysctlNumber(t, "net.core.rmem_max")
		if limit > math.MaxInt32/4 {
			t.Skipf("no buffer is larger than net.core.rmem_max, which is %d", limit)
		}
		return fmt.Sprintf("%d %d %d", syscall.SOL_SOCKET, syscall.SO_RCVBUF, factor*limit)
	}
}

// countLimit is a limit of the kernel and some more, as text.
func countLimit(sysctl string, more int64) func(*testing.T) string {
	return func(t *testing.T) string { return fmt.Sprint(lab.SysctlNumber(t, sysctl) + more) }
}

// latestEffect is what the kernel made of the one option in use.
func latestEffect(t *testing.T, c *lab.Running) options.Effect {
	t.Helper()
	var active []use
	require.Eventually(t, func() bool { // the configuration from before has gone
		active = statusOf(t, c).Listeners
		return len(active) == 1
	}, lab.Patience, time.Millisecond)
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
			needKernel(t, test.option)
			c, _ := serve(t, "sockopt"+lab.Block(test.option+" "+test.requested))
			require.Empty(t, clamps(t, c.Running))
			e := latestEffect(t, c.Running)
			if test.effective == "" {
				requested, err := options.ParseDuration(test.requested)
				require.NoError(t, err)
				effective, err := options.ParseDuration(e.Effective)
				require.NoError(t, err)
				require.Greater(t, effective, requested)
				require.LessOrEqual(t, effective, requested+options.Duration(10*time.Millisecond))
			} else {
				require.Equal(t, test.effective, e.Effective)
				require.Equal(t, test.getsockopt, fmt.Sprint(*e.GetSockOpt))
			}
			require.Equal(t, test.requested, e.Requested)
			require.Empty(t, e.ClampedBy)
			require.Equal(t, []lab.Entry{{
				Message:   "the kernel rounds " + test.option,
				Option:    test.option,
				Requested: test.requested,
				Effective: e.Effective,
			}}, c.Entries("info"))
		})
	}
}

// TestFastOpenWithoutTheSysctl: the kernel takes TCP_FASTOPEN whatever the sysctl
// says, and does nothing with it unless the server's bit is there.
func TestFastOpenWithoutTheSysctl(t *testing.T) {
	const serverBit = 2
	bits := lab.SysctlNumber(t, "net.ipv4.tcp_fastopen")
	for _, test := range []struct {
		queue string
		inert bool
	}{{"16", bits&serverBit == 0}, {"0", false}} {
		c, _ := serve(t, "sockopt"+lab.Block("fastopen "+test.queue))
		e := latestEffect(t, c.Running)
		require.Equal(t, test.queue, fmt.Sprint(*e.GetSockOpt))
		if !test.inert {
			require.Empty(t, e.NoEffect)
			require.Empty(t, c.Warnings())
			continue
		}
		require.Equal(t, fmt.Sprintf("net.ipv4.tcp_fastopen is %d: set it to %d", bits, bits|serverBit), e.NoEffect)
		require.Len(t, c.Warnings(), 1)
		require.Equal(t, "fastopen has no effect", c.Warnings()[0].Message)
	}
}

// TestWindowClampLasts holds what is said of window_clamp at load against a
// connection of the running Caddy: whether the clamp outlasts a request.
func TestWindowClampLasts(t *testing.T) {
	for _, lines := range [][]string{
		{"window_clamp 48KiB"},
		{"recv_buffer 256KiB", "window_clamp 48KiB"},
	} {
		t.Run(strings.Join(lines, ", "), func(t *testing.T) {
			addr := lab.Address(t)
			c := inprocess.Run(t, lab.Wrappers("sockopt"+lab.Block(lines...)+"\n"+inprocess.Observer), lab.EchoSite(addr))
			client, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer client.Close()
			conn, _ := inprocess.AcceptedSocket(t, client)
			clamp := func() string { return lab.GetSockOpt(t, conn, syscall.IPPROTO_TCP, syscall.TCP_WINDOW_CLAMP) }
			require.Equal(t, "49152", clamp())
			const size = 64 << 10
			_, err = fmt.Fprintf(client, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", addr, size, strings.Repeat("x", size))
			require.NoError(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(client), nil)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			lasts := clamp() == "49152"

			effects := statusOf(t, c).Listeners[0].Options
			said := effects[len(effects)-1].NoEffect
			t.Logf("TCP_WINDOW_CLAMP is %s after 64 KiB; said was %q", clamp(), said)
			require.Equal(t, lasts, said == "")
			if lasts {
				require.Empty(t, c.Warnings())
				return
			}
			require.Equal(t, "this kernel changes it when bytes arrive; recv_buffer bounds the window, roughly", said)
			require.Len(t, c.Warnings(), 1)
			require.Equal(t, "window_clamp has no effect", c.Warnings()[0].Message)
		})
	}
}
