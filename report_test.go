package sockopt

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	logged "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestReportLogsEachRefusal: a refusal that comes often does not hide another one.
func TestReportLogsEachRefusal(t *testing.T) {
	core, logs := logged.New(zap.WarnLevel)
	r := newReport(countersOf(origin{address: "of the report's test"}), zap.New(core))
	conn, _ := net.Pipe()
	for range 3 {
		r.refusedBy(conn, socket.NoDelay, net.ErrClosed)
		r.refusedBy(conn, socket.TTL, net.ErrClosed)
		r.unreachable(conn, errNotTCP)
	}
	var options []any
	for _, entry := range logs.All() {
		options = append(options, entry.ContextMap()["option"])
	}
	require.Equal(t, []any{socket.NoDelay.Name, socket.TTL.Name, nil}, options)
	for _, refused := range r.now().Refused {
		require.EqualValues(t, 3, refused.Count)
	}
	require.EqualValues(t, 3, r.now().Unreachable)
}
