package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// packagedUnit is the unit of Caddy's packages (init/caddy.service in caddyserver/dist), with
// the program in place of a verb.
const packagedUnit = `[Unit]
Description=Caddy
After=network.target network-online.target
Requires=network-online.target

[Service]
Type=notify
User=caddy
Group=caddy
ExecStart=%s run --environ --config /etc/caddy/Caddyfile
TimeoutStopSec=5s
LimitNOFILE=1048576
PrivateTmp=true
ProtectSystem=full
AmbientCapabilities=CAP_NET_ADMIN CAP_NET_BIND_SERVICE

[Install]
WantedBy=multi-user.target
`

// TestSystemdOverride has systemd verify the override beside the unit of Caddy's packages.
func TestSystemdOverride(t *testing.T) {
	lab.OtherProcess(t)
	analyze := lab.Require(t, "systemd-analyze")
	program, err := os.Executable() // which has to exist
	require.NoError(t, err)
	directory := t.TempDir()
	unit := filepath.Join(directory, "caddy.service")
	override := filepath.Join(unit+".d", "sockopt.conf")
	require.NoError(t, os.Mkdir(filepath.Dir(override), 0o700))
	require.NoError(t, os.WriteFile(unit, fmt.Appendf(nil, packagedUnit, program), 0o600))

	// complaints are what systemd says of the two files, and not of units of the machine.
	complaints := func(text string) (lines []string) {
		require.NoError(t, os.WriteFile(override, []byte(text), 0o600))
		output, err := lab.Command(t.Context(), analyze, "verify", "--man=no", unit).CombinedOutput()
		t.Logf("%v\n%s", err, output)
		for line := range strings.Lines(string(output)) {
			if strings.Contains(line, directory) || strings.HasPrefix(line, "caddy.service:") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	text := example(t, "systemd/caddy.service.d/sockopt.conf")
	require.Empty(t, complaints(text))
	require.Len(t, complaints(text+"\nNoSuchKey=1\n"), 1, "systemd reads the override")

	for _, line := range regexp.MustCompile(`(?m)^AmbientCapabilities=(.*)$`).FindAllStringSubmatch(text, -1) {
		// It ends with an error for a name that is unknown; verify ignores that.
		lab.Play(t, nil, analyze, append([]string{"capability"}, strings.Fields(line[1])...)...)
	}
}

// TestSysctlFile compares the limits of the file with the buffers of the example of HTTP/3.
func TestSysctlFile(t *testing.T) {
	limits := make(map[string]int64)
	for _, line := range regexp.MustCompile(`(?m)^([^#\s]+) = (\d+)$`).FindAllStringSubmatch(example(t, "sysctl.d/60-caddy-http3.conf"), -1) {
		value, err := strconv.ParseInt(line[2], 10, 64)
		require.NoError(t, err)
		limits[line[1]] = value
	}
	require.Len(t, limits, 2)
	for option, sysctl := range map[string]string{"recv_buffer": "net.core.rmem_max", "send_buffer": "net.core.wmem_max"} {
		match := regexp.MustCompile(`\b` + option + ` (\S+)`).FindStringSubmatch(example(t, "http3.Caddyfile"))
		require.NotNil(t, match, option)
		size, err := options.ParseSize(match[1])
		require.NoError(t, err)
		require.GreaterOrEqual(t, limits[sysctl], int64(size), option)
	}
}
