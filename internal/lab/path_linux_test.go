package lab

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPath: what goes back and forth takes a round trip, and arrives although packets get
// lost.
func TestPath(t *testing.T) {
	t.Parallel() // it waits most of the time
	p := NewTestPath(t)
	ln, err := net.Listen("tcp", p.Near+":0")
	require.NoError(t, err)
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	for _, rtt := range []time.Duration{0, 100 * time.Millisecond} {
		p.Set(rtt, 0)
		conn, err := p.Dial(ln.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		var took []time.Duration
		for range 5 {
			begin := time.Now()
			_, err = io.WriteString(conn, "hello")
			require.NoError(t, err)
			_, err = io.ReadFull(conn, make([]byte, 5))
			require.NoError(t, err)
			took = append(took, time.Since(begin))
		}
		require.GreaterOrEqual(t, Median(took), rtt)
		require.Less(t, Median(took), rtt+rtt/2+10*time.Millisecond)
	}
	p.Set(time.Millisecond, .1)
	conn, err := p.Dial(ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	const size = 1 << 20
	go func() { _, _ = conn.Write(make([]byte, size)) }()
	_, err = io.ReadFull(conn, make([]byte, size))
	require.NoError(t, err)
	require.Positive(t, p.Lost())
}
