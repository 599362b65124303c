package lab

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamespace(t *testing.T) {
	n := NewTestNamespace(t)
	ln, err := net.Listen("tcp", n.Near+":0")
	require.NoError(t, err)
	defer ln.Close()
	before, _, err := n.Segments()
	require.NoError(t, err)
	client, err := n.Dial(ln.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	require.Contains(t, client.LocalAddr().String(), n.Far)
	conn, err := ln.Accept()
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "hello")
	require.NoError(t, err)
	_, err = io.ReadFull(client, make([]byte, 5))
	require.NoError(t, err)
	received, sent, err := n.Segments()
	require.NoError(t, err)
	require.InDelta(t, 2, received-before, 0, "SYN-ACK and hello")
	require.GreaterOrEqual(t, sent, 2.0)

	far, err := n.Listen()
	require.NoError(t, err)
	defer far.Close()
	require.True(t, Answers(far.Addr().String()))

	p, err := n.Start(Command(t.Context(), "sh", "-c", "cat /proc/net/dev; exec sleep 60"))
	require.NoError(t, err)
	require.NoError(t, p.Await("it printed", func() bool { return strings.Contains(p.Printed(), farLink) }))
	p.End()
}
