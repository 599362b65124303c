package integration_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestKernelRefuses: each refusal says which option and value it is, why, and what
// to do, and the running configuration goes on.
func TestKernelRefuses(t *testing.T) {
	const fix = "; leave the option out, or set on_unsupported warn"
	for _, test := range []struct {
		line, want string
	}{
		{line: "congestion foo", want: `congestion "foo": this kernel offers ` +
			strings.ReplaceAll(lab.Sysctl("net.ipv4.tcp_available_congestion_control"), " ", ", ")},
		{line: "delayed_ack_max 1ms", want: "delayed_ack_max 1ms: the kernel takes two clock ticks (8ms at 250 Hz) to 200ms"},
		{line: "rto_min 1ms", want: "rto_min 1ms: the kernel takes two clock ticks (8ms at 250 Hz) to 200ms"},
		{line: "raw 6 9999 1", want: "raw 6 9999 1: this kernel refuses level 6 option 9999: setsockopt: protocol not available"},
		{line: "raw 9999 1 1", want: "raw 9999 1 1: this kernel refuses level 9999 option 1: setsockopt: protocol not available"},
		{line: "raw 6 18 -1", want: "raw 6 18 -1: this kernel refuses level 6 option 18: setsockopt: invalid argument"},
	} {
		t.Run(test.line, func(t *testing.T) {
			name, _, _ := strings.Cut(test.line, " ")
			needKernel(t, name)
			c, client := serve(t, "sockopt")
			status, answer := c.Load("text/caddyfile", c.with("sockopt"+lab.Block(test.line)))
			require.Equal(t, http.StatusBadRequest, status)
			require.Contains(t, errorIn(t, answer), "provision caddy.listeners.sockopt: "+test.want+fix)
			client.get(t)

			status, answer = c.Load("text/caddyfile", c.with("sockopt"+lab.Block(test.line, "on_unsupported warn")))
			require.Equal(t, http.StatusOK, status, answer)
			c.reachable(t)
			require.Equal(t, []lab.Entry{{
				Message: "option left out: this system refuses it",
				Option:  name,
				Error:   test.want,
			}}, c.Warnings())
			e := latestEffect(t, c.Running)
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
			lab.Sysctl("net.ipv4.tcp_allowed_congestion_control")},
	} {
		t.Run(test.line, func(t *testing.T) {
			if test.line == "congestion " {
				t.Skip("this kernel offers no congestion control that is not allowed")
			}
			output, err := validateUnprivileged(t, lab.Wrappers("sockopt"+lab.Block(test.line)))
			if test.want == "" {
				require.NoError(t, err, output)
				return
			}
			require.Error(t, err)
			require.Contains(t, output, "provision caddy.listeners.sockopt: "+test.want+"; leave the option out, or set on_unsupported warn")

			output, err = validateUnprivileged(t, lab.Wrappers("sockopt"+lab.Block(test.line, "on_unsupported warn")))
			require.NoError(t, err, output)
			require.Contains(t, output, "option left out: this system refuses it")
			require.Contains(t, output, test.want)
		})
	}
}

// restricted is an algorithm that this kernel has and allows to few.
func restricted() string {
	allowed := strings.Fields(lab.Sysctl("net.ipv4.tcp_allowed_congestion_control"))
	for name := range strings.FieldsSeq(lab.Sysctl("net.ipv4.tcp_available_congestion_control")) {
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
	lab.OtherProcess(t)
	const nobody = 65534
	// The test binary is where nobody else may look.
	cmd := exec.Command("/proc/self/exe", "validate", "--adapter", "caddyfile", "--config", "-")
	cmd.Stdin = strings.NewReader("{\nadmin off\npersist_config off\n" + global + "\n}\nhttp://127.0.0.1 {\n}\n")
	cmd.Env = append(os.Environ(), lab.AsCaddy+"=1", "HOME=/nonexistent", "XDG_DATA_HOME=", "XDG_CONFIG_HOME=")
	cmd.Dir = "/"
	switch {
	case os.Getuid() == 0:
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	case socket.HasCapability("CAP_NET_ADMIN"):
		lab.Missing(t, "not root, who could drop the capability")
	}
	text, err := cmd.CombinedOutput()
	return string(text), err
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
			c, _, conn := runningSockets(t, "sockopt"+lab.Block(test.line)+"\n"+inprocess.Observer)
			require.Equal(t, test.phases, latestEffect(t, c).Phases)
			require.Empty(t, c.Warnings())
			require.Empty(t, statusOf(t, c).Listeners[0].Counters.Refused)
			if test.line == fastOpen {
				require.Equal(t, "0", lab.GetSockOpt(t, conn, syscall.IPPROTO_TCP, tcpFastOpen))
			}
		})
	}
	c, _ := serve(t, "sockopt")
	site := fmt.Sprintf("http://%s {\nreverse_proxy 127.0.0.1:9101 {\ntransport sockopt {\nsocket {\n%s\n}\n}\n}\n}", c.addr, fastOpen)
	status, answer := c.Load("text/caddyfile", c.config("", site))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, errorIn(t, answer), fastOpen+": this kernel refuses level 6 option 23: setsockopt: invalid argument"+
		"; leave the option out, or set on_unsupported warn")
}
