package stats

import (
	"maps"
	"net"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestLooksAtSome: of many connections each look reads the same few, and what they did before they
// were first looked at does not count.
func TestLooksAtSome(t *testing.T) {
	origin := inNewRegistry(t)
	c := For(origin)
	t.Cleanup(c.Done)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	const connections, most = 256, 32
	var conns []*socket.Conn
	send := func() {
		for _, conn := range conns {
			_, err := conn.Write([]byte("x"))
			require.NoError(t, err)
		}
	}
	for range connections {
		client, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer client.Close()
		accepted, err := ln.Accept()
		require.NoError(t, err)
		defer accepted.Close()
		conn, err := socket.NewConn(accepted.(*net.TCPConn), socket.AckOptions{Mode: socket.AckOff}, nil)
		require.NoError(t, err)
		c.open.Add(conn)
		defer c.open.Remove(conn)
		conns = append(conns, conn)
	}
	send()
	first, between := TakeLook(Look{}, most)
	require.Equal(t, connections, between[origin].Open)
	require.InDelta(t, most, len(first.conns), most-1)
	send()
	second, between := TakeLook(first, most)
	require.ElementsMatch(t, slices.Collect(maps.Keys(first.conns)), slices.Collect(maps.Keys(second.conns)))
	require.EqualValues(t, len(first.conns), between[origin].Lost.Sent+between[origin].LostWithBBR.Sent)

	send()
	all, between := TakeLook(second, 0)
	require.Len(t, all.conns, connections)
	require.EqualValues(t, len(first.conns), between[origin].Lost.Sent+between[origin].LostWithBBR.Sent, "the others are looked at for the first time")
}
