package sockopt

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestReleasedSocketIsNotBoundAgain: a UDP socket outlives the configuration that had bound it
// to a device, and then nobody looks after it.
func TestReleasedSocketIsNotBoundAgain(t *testing.T) {
	if !socket.HasCapability("CAP_NET_RAW") {
		lab.Missing(t, "CAP_NET_RAW, without which a socket stays bound")
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer udp.Close()
	lo := socket.Value{Text: "lo"}
	u := &packetUser{
		resolved: options.Resolved{Overrides: []socket.Override{{Setting: socket.Setting{Option: socket.Interface, Value: lo}, Effective: lo}}},
		log:      zap.NewNop(),
	}
	var l packetSocketList
	l.open(u, udp)
	require.Contains(t, boundSockets.all, udp)
	l.release(u)
	require.NotContains(t, boundSockets.all, udp)
	boundSockets.look()
	now, err := socket.Get(udp, socket.Interface)
	require.NoError(t, err)
	require.Empty(t, now.Text)
}
