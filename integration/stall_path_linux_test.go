package integration_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestStallOverPath: over a path a client in pieces waits for two round trips, one of which
// is for Nagle's algorithm. With stock Caddy it waits for the delayed ACK as well: 146 ms
// instead of 103 over a path of 50.
func TestStallOverPath(t *testing.T) {
	t.Parallel() // it waits most of the time
	p := lab.NewTestPath(t)
	stock, cured := caddyOnPath(t, p, "", "respond hello"), caddyOnPath(t, p, "sockopt", "respond hello")
	for _, rtt := range []time.Duration{50 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond}[:lab.Long(1, 3)] {
		t.Run(fmt.Sprint(rtt), func(t *testing.T) {
			p.Set(rtt, 0)
			for _, c := range []struct {
				onPath
				stalls bool
			}{{stock, true}, {cured, false}} {
				conn, err := p.Dial(c.plain)
				require.NoError(t, err)
				defer conn.Close()
				require.NoError(t, conn.SetNoDelay(false))
				client := lab.NewHTTP1(conn, c.plain)
				ask := func(send func() error) func() time.Duration {
					return timed(func() {
						require.NoError(t, conn.SetDeadline(time.Now().Add(lab.Patience)))
						require.NoError(t, send())
						_, err := client.Receive()
						require.NoError(t, err)
					})
				}
				trip, pieces := lab.Median(batchOf(ask(client.Send))), ask(client.SendInPieces)
				t.Logf("a round trip takes %v", trip)
				if c.stalls {
					requireWait(t, func() time.Duration { return pieces() - 2*rtt }) // a busy machine only adds to it
				} else {
					requireNoWait(t, func() time.Duration { return pieces() - 2*trip })
				}
			}
		})
	}
}
