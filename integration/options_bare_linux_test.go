package integration_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestBareWrapperSetsNothing compares every option of the kernel that is a number.
func TestBareWrapperSetsNothing(t *testing.T) {
	ln, conn := sockets(t, inprocess.Observer)
	stockListener, stockConn := everyOption(t, ln), everyOption(t, conn)
	ln, conn = sockets(t, "sockopt\n"+inprocess.Observer)
	require.Empty(t, changed(stockListener, everyOption(t, ln)))
	require.Empty(t, changed(stockConn, everyOption(t, conn)))

	_, conn = sockets(t, "sockopt"+lab.Block("nodelay off")+"\n"+inprocess.Observer)
	require.Equal(t, []string{"1 of IPPROTO_TCP: 1 became 0"}, changed(stockConn, everyOption(t, conn)), "what was set must show")
}
