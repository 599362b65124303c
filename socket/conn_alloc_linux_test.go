package socket

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// onCall is a connection whose peer sends a piece of size bytes for each value
// sent to call.
func onCall(t testing.TB, size int) (accepted *net.TCPConn, call chan<- struct{}) {
	t.Helper()
	accepted, peer := pair(t)
	calls := make(chan struct{})
	t.Cleanup(func() { close(calls) })
	go func() {
		piece := make([]byte, size)
		for range calls {
			if _, err := peer.Write(piece); err != nil {
				return
			}
		}
	}()
	return accepted, calls
}

func TestReadsAndWritesAllocateNothing(t *testing.T) {
	const runs, size = 1000, 64
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			accepted, call := onCall(t, size)
			c := v.wrap(t, accepted)
			buf := make([]byte, size)
			// AllocsPerRun has one goroutine run at a time: the peer writes once
			// the read has parked, unless the runtime preempts the reader.
			require.Zero(t, testing.AllocsPerRun(runs, func() {
				call <- struct{}{}
				if n, err := c.Read(buf); n != size || err != nil {
					t.Error(n, err)
				}
			}), "reads that park")
			if conn, ok := c.(*Conn); ok {
				require.Greater(t, conn.observer.(*acks).acknowledged.Load(), int64(runs/2))
			}

			stored, peer := pair(t)
			c = v.wrap(t, stored)
			_, err := peer.Write(make([]byte, (runs+1)*size))
			require.NoError(t, err)
			awaitBytes(t, stored, (runs+1)*size)
			require.Zero(t, testing.AllocsPerRun(runs, func() {
				if n, err := c.Read(buf); n != size || err != nil {
					t.Error(n, err)
				}
			}), "reads that find bytes")
			require.Zero(t, testing.AllocsPerRun(runs, func() {
				if n, err := c.Write(buf); n != size || err != nil {
					t.Error(n, err)
				}
			}), "writes")

			// net/http ends the read of its watch so in every request.
			require.NoError(t, stored.SetReadDeadline(time.Unix(1, 0)))
			out := func(c net.Conn) float64 {
				return testing.AllocsPerRun(runs, func() {
					if _, err := c.Read(buf[:1]); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error(err)
					}
				})
			}
			require.InDelta(t, out(stored), out(c), 0, "reads that are out of time")
		})
	}
}

func TestLearningAllocatesNothing(t *testing.T) {
	const runs, size = 1000, 64
	accepted, call := onCall(t, size)
	conn, observer := wrap(t, accepted, AckAuto)
	buf := make([]byte, size)
	for range 4 {
		waste(conn)
	}
	require.Equal(t, "patient", conn.learner.State())
	require.Zero(t, testing.AllocsPerRun(runs, func() {
		call <- struct{}{}
		if n, err := conn.Read(buf); n != size || err != nil {
			t.Error(n, err)
		}
	}), "reads that park")
	require.Zero(t, testing.AllocsPerRun(runs, func() {
		conn.learner.Start(true)
		waste(conn)
	}), "writes that waste")
	require.Greater(t, observer.wasted.Load(), int64(runs))

	conn, observer = wrap(t, accepted, AckOff)
	onDescriptor(t, conn, func(fd int) {
		require.Zero(t, testing.AllocsPerRun(runs, func() {
			conn.sends()
			conn.learner.Read(now)
			conn.learner.Park(false, func() time.Duration { return now() - 150*time.Millisecond })
			conn.received(fd)
		}), "stalls")
	})
	require.Greater(t, observer.stalled.Load(), int64(runs))
}

// waste has c acknowledge what it has not read, and write.
func waste(c *Conn) {
	c.learner.Read(now)
	c.learner.Park(false, now)
	c.sends()
}

func TestConnIsSmall(t *testing.T) {
	const conns = 1000
	accepted, _ := pair(t)
	observer := new(acks)
	var kept [conns]*Conn
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range kept {
		kept[i], _ = NewConn(accepted, AckOptions{Mode: AckAuto}, observer)
	}
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)

	bytes := (after.TotalAlloc - before.TotalAlloc) / conns
	allocs := (after.Mallocs - before.Mallocs) / conns
	t.Logf("%d bytes in %d allocations; the struct %d bytes", bytes, allocs, unsafe.Sizeof(Conn{}))
	require.LessOrEqual(t, bytes, uint64(256))
}

// Each read parks until the peer has written a piece.
func benchmarkRead(b *testing.B, wrap func(testing.TB, *net.TCPConn) tcp) {
	const size = 1 << 10
	accepted, call := onCall(b, size)
	c := wrap(b, accepted)
	buf := make([]byte, size)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		call <- struct{}{}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTCPConnRead(b *testing.B) {
	benchmarkRead(b, variants[0].wrap)
}

func BenchmarkConnRead(b *testing.B) {
	for _, v := range variants[1:] {
		b.Run(v.name, func(b *testing.B) { benchmarkRead(b, v.wrap) })
	}
}

// A request in one piece and its answer, there and back.
func BenchmarkPingPong(b *testing.B) {
	for _, v := range variants {
		b.Run(v.name, func(b *testing.B) {
			accepted, client := pair(b)
			server := v.wrap(b, accepted)
			buf := make([]byte, 64)
			served := inBackground(func() result { return result{0, reply(server, len(buf))} })
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Write(buf); err != nil {
					b.Fatal(err)
				}
				if _, err := client.Read(buf); err != nil {
					b.Fatal(err)
				}
			}
			if err := client.Close(); err != nil {
				b.Fatal(err)
			}
			if err := (<-served).err; err != nil {
				b.Fatal(err)
			}
		})
	}
}
