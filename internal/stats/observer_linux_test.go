package stats

import (
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestClosing: with metrics, what the kernel counted of a connection is in the metrics
// when it has been closed.
func TestClosing(t *testing.T) {
	for _, metrics := range []bool{true, false} {
		t.Run(fmt.Sprint(metrics), func(t *testing.T) {
			origin := inNewRegistry(t)
			counters := For(origin)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			client, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			defer client.Close()
			accepted, err := ln.Accept()
			require.NoError(t, err)
			require.NoError(t, ln.Close())
			conn, err := socket.NewConn(accepted.(*net.TCPConn), socket.AckOptions{Mode: socket.AckAuto}, NewObserver(counters, zap.NewNop(), metrics))
			require.NoError(t, err)
			_, err = io.WriteString(client, "ping")
			require.NoError(t, err)
			_, err = io.ReadFull(conn, make([]byte, 4))
			require.NoError(t, err)
			_, err = io.WriteString(conn, "answer")
			require.NoError(t, err)
			_, err = io.ReadFull(client, make([]byte, 6))
			require.NoError(t, err)
			require.NoError(t, conn.Close())

			shown := gather(t)
			for name, want := range map[string]float64{
				"received_bytes_total": 4, "acked_bytes_total": 6, "retransmitted_segments_total": 0, "rtt_seconds": 1, "min_rtt_seconds": 1,
			} {
				value, ok := shown[series(name, origin)]
				require.Equal(t, metrics, ok, name)
				if ok {
					require.InDelta(t, want, value, 0, name)
				}
			}
		})
	}
}
