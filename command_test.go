package sockopt

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

func TestOptionsCommand(t *testing.T) {
	stdout, stderr, err := lab.CaddyOutput(t, "sockopt", "options")
	require.NoError(t, err, stderr)
	var table bytes.Buffer
	require.NoError(t, writeOptions(&table, thisSystem()))
	require.Equal(t, table.String(), stdout)

	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.True(t, strings.HasPrefix(lines[0], runtime.GOOS), lines[0])
	lines = lines[len(lines)-len(rows):]
	for i, r := range rows {
		require.Equal(t, r.name, strings.Fields(lines[i])[0])
		require.Contains(t, lines[i], r.option.Name)
	}
}

func TestOptionsTable(t *testing.T) {
	nodelay := support{Name: "nodelay", Kernel: "TCP_NODELAY", Phases: []string{"accept", "dial"}, Supported: true, Default: "on"}
	linger := support{Name: "linger", Kernel: "SO_LINGER", Phases: []string{"accept"}, Supported: true, Default: "off"}
	for _, test := range []struct {
		name   string
		system system
		want   string
	}{
		{
			"Linux",
			system{"linux", "5.10.0", []support{
				nodelay,
				{
					Name: "mark", Kernel: "SO_MARK", Phases: []string{"accept"}, Supported: true, Default: "0x0",
					Sysctl: map[string]string{"net.example": "7"}, Takes: "1s to 2s",
					Capability: &capability{Name: "CAP_NET_ADMIN"},
				},
				{
					Name: "priority", Kernel: "SO_PRIORITY", Phases: []string{"accept"}, Supported: true,
					Capability: &capability{"CAP_NET_ADMIN", true},
				},
				{Name: "rto_max", Kernel: "TCP_RTO_MAX_MS", Phases: []string{"accept"}, Needs: "Linux 6.15"},
			}},
			`linux 5.10.0

OPTION    KERNEL          PHASES       HERE              DEFAULT  BOUNDS
nodelay   TCP_NODELAY     accept dial  yes               on
mark      SO_MARK         accept       yes               0x0      net.example 7; 1s to 2s; CAP_NET_ADMIN (not held)
priority  SO_PRIORITY     accept       yes                        CAP_NET_ADMIN (held)
rto_max   TCP_RTO_MAX_MS  accept       needs Linux 6.15
`,
		},
		{
			"another system",
			system{"darwin", "", []support{
				nodelay,
				{Name: "quickack", Kernel: "TCP_QUICKACK", Phases: []string{"accept", "dial"}, Needs: "Linux"},
				linger,
			}},
			`darwin
Here you can name nodelay or linger. The other options need Linux.

OPTION    KERNEL        PHASES       HERE         DEFAULT  BOUNDS
nodelay   TCP_NODELAY   accept dial  yes          on
quickack  TCP_QUICKACK  accept dial  needs Linux
linger    SO_LINGER     accept       yes          off
`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var table strings.Builder
			require.NoError(t, writeOptions(&table, test.system))
			require.Equal(t, test.want, table.String())
		})
	}
}
