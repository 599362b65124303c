package stats

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestLimitedByTable names what took half of the busy time, and what the kernel's counts say of the
// rest.
func TestLimitedByTable(t *testing.T) {
	for _, test := range []struct {
		name        string
		before, now progress
		want        Limit
	}{
		{"idle", progress{}, progress{}, NothingToSend},
		{"a short response", progress{busy: 100}, progress{busy: 900}, NothingToSend},
		{"a window that is closed", progress{peerWindow: 10}, progress{busy: 100_000, peerWindow: 90_000}, PeerWindow},
		{"a window that was closed before", progress{busy: 90_000, peerWindow: 90_000}, progress{busy: 190_000, peerWindow: 90_000}, NothingToSend},
		{"a send buffer that holds too little", progress{}, progress{busy: 100_000, sendBuffer: 60_000}, SendBuffer},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.want, limitedBy(test.before, test.now, new(socket.Measurement)))
		})
	}
}
