package sockopt

import (
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
)

// TestNetworksOfOtherSystems: elsewhere each network is an error that says so.
func TestNetworksOfOtherSystems(t *testing.T) {
	if runtime.GOOS == "linux" {
		t.Skip("it has them")
	}
	for _, n := range networks {
		_, err := n.open(t.Context(), "tcp", caddy.NetworkAddress{Network: n.name, Host: "127.0.0.1"}, net.ListenConfig{})
		require.EqualError(t, err, "network "+n.name+" is not available on "+runtime.GOOS+", only on Linux; listen without it")
	}
}
