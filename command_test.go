package sockopt

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/options"
)

func TestOptionsTable(t *testing.T) {
	nodelay := options.Support{Name: "nodelay", Kernel: "TCP_NODELAY", Phases: []string{"accept", "dial"}, Supported: true, Default: "on"}
	linger := options.Support{Name: "linger", Kernel: "SO_LINGER", Phases: []string{"accept"}, Supported: true, Default: "off"}
	for _, test := range []struct {
		name   string
		system options.System
		want   string
	}{
		{
			"Linux",
			options.System{OS: "linux", Kernel: "5.10.0", Options: []options.Support{
				nodelay,
				{
					Name: "mark", Kernel: "SO_MARK", Phases: []string{"accept"}, Supported: true, Default: "0x0",
					Sysctl: map[string]string{"net.example": "7"}, Takes: "1s to 2s",
					Capability: &options.Capability{Name: "CAP_NET_ADMIN"},
				},
				{
					Name: "priority", Kernel: "SO_PRIORITY", Phases: []string{"accept"}, Supported: true,
					Capability: &options.Capability{Name: "CAP_NET_ADMIN", Held: true},
				},
				{Name: "rto_max", Kernel: "TCP_RTO_MAX_MS", Phases: []string{"accept"}, Needs: "Linux 6.15"},
				{Name: "fastopen", Kernel: "TCP_FASTOPEN", Phases: []string{"listen"}, Supported: true, NeedsMPTCP: "needs Linux 6.2, or multipath off"},
			}},
			`linux 5.10.0

OPTION    KERNEL          PHASES       HERE                                      DEFAULT  BOUNDS
nodelay   TCP_NODELAY     accept dial  yes                                       on
mark      SO_MARK         accept       yes                                       0x0      net.example 7; 1s to 2s; CAP_NET_ADMIN (not held)
priority  SO_PRIORITY     accept       yes                                                CAP_NET_ADMIN (held)
rto_max   TCP_RTO_MAX_MS  accept       needs Linux 6.15
fastopen  TCP_FASTOPEN    listen       MPTCP: needs Linux 6.2, or multipath off
`,
		},
		{
			"another system",
			options.System{OS: "darwin", Options: []options.Support{
				nodelay,
				{Name: "quickack", Kernel: "TCP_QUICKACK", Phases: []string{"accept", "dial"}, Needs: "Linux"},
				linger,
			}},
			`darwin
This system supports only nodelay or linger. The other options need Linux.

OPTION    KERNEL        PHASES       HERE         DEFAULT  BOUNDS
nodelay   TCP_NODELAY   accept dial  yes          on
quickack  TCP_QUICKACK  accept dial  needs Linux
linger    SO_LINGER     accept       yes          off
`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var table strings.Builder
			writeOptions(&table, test.system)
			require.Equal(t, test.want, table.String())
		})
	}
}

// TestOptionsTableOfThisSystem has a line for each option.
func TestOptionsTableOfThisSystem(t *testing.T) {
	system := options.ThisSystem()
	var table strings.Builder
	writeOptions(&table, system)
	lines := strings.Split(strings.TrimSpace(table.String()), "\n")
	require.Equal(t, strings.TrimSpace(system.OS+" "+system.Kernel), lines[0])
	lines = lines[len(lines)-len(system.Options):]
	for i, o := range system.Options {
		require.Equal(t, o.Name, strings.Fields(lines[i])[0])
		require.Contains(t, lines[i], o.Kernel)
	}
}

// TestTableFits: a narrow terminal has fewer columns, and at least one.
func TestTableFits(t *testing.T) {
	rows := [][]string{{"PEER", "RTT", "SERVER"}, {"192.0.2.1:80", "1.5ms", "srv0"}}
	for width, want := range map[int]string{
		0:  "PEER          RTT    SERVER\n192.0.2.1:80  1.5ms  srv0\n",
		27: "PEER          RTT    SERVER\n192.0.2.1:80  1.5ms  srv0\n",
		26: "PEER          RTT\n192.0.2.1:80  1.5ms\n",
		18: "PEER\n192.0.2.1:80\n",
		5:  "PEER\n192.0.2.1:80\n",
	} {
		var table bytes.Buffer
		printTable(&table, rows, width)
		require.Equal(t, want, table.String(), width)
	}
}
