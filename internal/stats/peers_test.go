package stats

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func waiting(addr string) Peer {
	return Peer{Peer: netip.PrefixFrom(netip.MustParseAddr(addr), 32), Server: "srv0", Kind: "later"}
}

// TestPeersThatWait: by chance a peer that does not wait looks like one, and is not shown.
func TestPeersThatWait(t *testing.T) {
	now := time.Now()
	table := peerTable{of: make(map[Peer]*Peer)}
	for range 2 {
		table.answered(waiting("192.0.2.1"), true, now)
	}
	require.Empty(t, table.now(now), "two may be chance")
	table.answered(waiting("192.0.2.1"), true, now)
	for i := range 1000 {
		table.answered(waiting("192.0.2.2"), i%32 == 0, now)
		table.answered(waiting("192.0.2.3"), false, now)
	}
	require.Len(t, table.of, 2)
	shown := table.now(now)
	require.Len(t, shown, 1)
	require.Equal(t, Peer{Peer: netip.MustParsePrefix("192.0.2.1/32"), Server: "srv0", Kind: "later", Count: 3, Last: now}, shown[0])
	require.Empty(t, table.now(now.Add(keepPeer+time.Second)))
	require.Empty(t, table.of)
}

// TestPeersAreBounded: the one that waited least goes first.
func TestPeersAreBounded(t *testing.T) {
	now := time.Now()
	table := peerTable{of: make(map[Peer]*Peer)}
	for range 5 {
		table.answered(waiting("198.51.100.1"), true, now)
	}
	for i := range 2 * mostPeers {
		addr := netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})
		table.answered(waiting(addr.String()), true, now)
	}
	require.Len(t, table.of, mostPeers)
	require.Len(t, table.now(now), 1)
	key := waiting("198.51.100.1")
	require.Zero(t, testing.AllocsPerRun(100, func() { table.answered(key, true, now) }))
}
