package options

import (
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestWithoutProcSys resolves where there is no /proc/sys (systemd's ProcSubset=pid), and in
// a root that has nothing at all: what cannot be read is said to be so.
func TestWithoutProcSys(t *testing.T) {
	if os.Geteuid() != 0 {
		lab.Missing(t, "only root may hide /proc/sys")
	}
	listenPlain(t, rowNamed(t, "fastopen"))
	bare := t.TempDir()
	for name, hide := range map[string]func() error{
		"no /proc/sys": func() error { return unix.Mount("none", "/proc/sys", "tmpfs", 0, "") },
		"bare root":    func() error { return unix.Chroot(bare) },
	} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread() // the thread ends with the test's goroutine
			require.NoError(t, unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS))
			require.NoError(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
			require.NoError(t, hide())
			requireRefused(t, `congestion "foo": this kernel offers what net.ipv4.tcp_available_congestion_control says, which cannot be read here`,
				Accept, "congestion foo")
			resolved, _, err := resolve(t, Listen|Accept, "fastopen 16", "recv_buffer 64KiB", "user_timeout 30s", "backlog 128")
			require.NoError(t, err)
			require.Equal(t, "net.ipv4.tcp_fastopen cannot be read here: it has no effect unless that contains 2", effectOf(t, resolved, "fastopen").Caution)
			require.Equal(t, "64KiB", effectOf(t, resolved, "recv_buffer").Effective)
			for _, o := range ThisSystem().Options {
				require.True(t, o.Supported || o.Needs != "", o.Name)
				for sysctl, value := range o.Sysctl {
					require.Empty(t, value, sysctl)
				}
			}
		})
	}
}

func effectOf(t *testing.T, r Resolved, option string) Effect {
	t.Helper()
	for _, e := range r.Effects {
		if e.Option == option {
			return e
		}
	}
	t.Fatalf("no effect of %s in %v", option, r.Effects)
	return Effect{}
}

// TestWarnings: a value that does something else than was meant is warned of.
func TestWarnings(t *testing.T) {
	for _, test := range []struct {
		lines   []string
		caution string
	}{
		{[]string{"keepalive off", "keepalive_idle 30s"}, "it has no effect, since keepalive is off"},
		{[]string{"keepalive on", "keepalive_idle 30s"}, ""},
		{[]string{"notsent_lowat 1"}, "each write waits until nearly all before it was sent"},
		{[]string{"notsent_lowat 128"}, "did you mean 128KiB?"},
		{[]string{"notsent_lowat 16KiB"}, ""},
		{[]string{"user_timeout 1us"}, "one lost segment, or a peer that is slow for a moment, ends the connection"},
		{[]string{"user_timeout 0s"}, ""},
		{[]string{"user_timeout 30s"}, ""},
		{[]string{"nodelay off"}, "Nagle's algorithm holds back the end of what is sent in pieces"},
		{[]string{"nodelay on"}, ""},
	} {
		resolved, _, err := resolve(t, Accept, test.lines...)
		require.NoError(t, err)
		caution := resolved.Effects[len(resolved.Effects)-1].Caution
		if test.caution == "" {
			require.Empty(t, caution, test.lines)
		}
		require.Contains(t, caution, test.caution, test.lines)
	}
}
