package lab

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEndLeavesNothing ends a process whose child ignores SIGTERM.
func TestEndLeavesNothing(t *testing.T) {
	OtherProcess(t)
	require.NoError(t, AdoptOrphans())
	before := Descendants(os.Getpid())
	p, err := Start(Command(t.Context(), "sh", "-c", `(trap "" TERM; echo ready; while :; do sleep 60; done) & wait`))
	require.NoError(t, err)
	require.NoError(t, p.Await("it is ready", func() bool { return strings.Contains(p.Printed(), "ready") && len(p.PIDs()) == 3 }))
	require.Positive(t, p.CPU())
	require.Positive(t, p.Memory())
	p.End()
	require.Equal(t, before, Descendants(os.Getpid()))
}

// TestListens finds the listening socket of this process.
func TestListens(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	p := &Process{Cmd: Command(t.Context(), "self")}
	p.Process = self
	for _, addr := range []string{"127.0.0.1:0", "[::]:0"} {
		ln, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		port := ln.Addr().(*net.TCPAddr).Port
		require.True(t, p.Listens(port))
		ln.Close()
		require.False(t, p.Listens(port))
	}
}
