package socket

import (
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// await reads into a buffer of size bytes until the read parks, and then ends it
// with a deadline.
func await(size int) step {
	return func(t *testing.T, w wired) {
		done := inBackground(read(w, size))
		awaitParked(t, 1)
		require.NoError(t, w.SetReadDeadline(time.Unix(1, 0)))
		require.ErrorIs(t, (<-done).err, os.ErrDeadlineExceeded)
		require.NoError(t, w.SetReadDeadline(time.Time{}))
	}
}

// answer writes n bytes.
func answer(n int) step {
	return func(t *testing.T, w wired) { send(t, w.Conn, strings.Repeat("*", n)) }
}

// holdBack tells the Conn whether what is written is held back.
func holdBack(held bool) step {
	return func(_ *testing.T, w wired) { w.SetHeldBack(held) }
}

func pushed(t *testing.T, w wired) { require.NoError(t, Push(w.Conn)) }

func TestAcknowledgements(t *testing.T) {
	const size = 4096
	cases := []struct {
		name  string
		mode  AckMode
		steps []step
		want  int64
	}{
		{"a first read parks", AckAuto, []step{await(size)}, 0},
		{"a read parks after bytes", AckAuto, []step{receive(5), await(size)}, 1},
		{"a read parks after bytes in many reads", AckAuto, []step{receive(5), receive(5), receive(5), await(size)}, 1},
		{"a read parks again", AckAuto, []step{receive(5), await(size), await(size), await(size)}, 1},
		{"bytes come in two pieces", AckAuto, []step{receive(5), await(size), receive(5), await(size)}, 2},
		{"no read parks", AckAuto, []step{receive(5), receive(5), receive(5)}, 0},
		{"a write comes in between", AckAuto, []step{receive(5), answer(5), await(size)}, 0},
		{"a write comes before", AckAuto, []step{answer(5), receive(5), await(size)}, 1},
		{"an empty write sends nothing", AckAuto, []step{receive(5), answer(0), await(size)}, 1},
		{"a one-byte read parks", AckAuto, []step{receive(5), await(1)}, 0},
		{"a read for the last byte of a buffer parks", AckAuto, []step{receiveInto(9, 8), await(1)}, 1},
		{"a larger read parks after a one-byte read", AckAuto, []step{receive(5), await(1), await(size)}, 1},
		{"a read parks after one byte", AckAuto, []step{receive(1), await(size)}, 1},
		{"a one-byte read parks after another", AckAuto, []step{receiveInto(1, 1), await(1)}, 1},
		{"a watch that saw a byte", AckAuto, []step{receive(5), receiveInto(1, 1), receive(4), await(1)}, 0},
		{"a write is held back", AckAuto, []step{receive(5), holdBack(true), answer(5), await(size)}, 1},
		{"what was held back is sent", AckAuto, []step{receive(5), holdBack(true), answer(5), holdBack(false), await(size)}, 0},
		{"nothing was held back", AckAuto, []step{receive(5), holdBack(true), holdBack(false), await(size)}, 1},
		{"what was held back is pushed", AckAuto, []step{receive(5), holdBack(true), answer(5), pushed, await(size)}, 0},
		{"a write is held back after a push", AckAuto, []step{holdBack(true), pushed, receive(5), answer(5), await(size)}, 1},
		{"requests and answers", AckAuto, slices.Repeat([]step{receive(5), answer(5), await(size)}, 10), 0},

		{"on: a first read parks", AckOn, []step{await(size)}, 0},
		{"on: each read", AckOn, []step{receive(5), receive(5), receive(5)}, 3},
		{"on: a read parks after", AckOn, []step{receive(5), await(size)}, 1},
		{"on: a write comes in between", AckOn, []step{receive(5), answer(5), await(size)}, 1},
		{"on: a one-byte read parks", AckOn, []step{receive(5), await(1)}, 1},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			accepted, peer := pair(t)
			conn, observer := wrap(t, accepted, tc.mode)
			for _, do := range tc.steps {
				do(t, wired{conn, observer, peer})
			}
			require.Equal(t, tc.want, observer.acknowledged.Load())
			require.Zero(t, observer.failed.Load())
		})
	}
}

// Answers that do not go through Write: one that comes from a reader counts as a
// write, one of many buffers does not, and the next request is acknowledged by itself. So
// it is after one that the Conn takes for held back though it was sent.
func TestAnswersOutsideWrite(t *testing.T) {
	const payload, requests = "12345", 100
	cases := []struct {
		name     string
		answer   func(t *testing.T, c *Conn)
		acks     uint64
		segments float64 // a request
	}{
		{"ReadFrom a file", func(t *testing.T, c *Conn) {
			n, err := c.ReadFrom(fileOf(t, []byte(payload)))
			require.NoError(t, err)
			require.EqualValues(t, len(payload), n)
		}, 0, 1},
		{"ReadFrom a piece of a file", func(t *testing.T, c *Conn) {
			n, err := c.ReadFrom(io.LimitReader(fileOf(t, []byte(payload+payload)), int64(len(payload))))
			require.NoError(t, err)
			require.EqualValues(t, len(payload), n)
		}, 0, 1},
		{"ReadFrom another reader", func(t *testing.T, c *Conn) {
			n, err := c.ReadFrom(struct{ io.Reader }{strings.NewReader(payload)})
			require.NoError(t, err)
			require.EqualValues(t, len(payload), n)
		}, 0, 1},
		{"Write that is held back", func(t *testing.T, c *Conn) {
			c.SetHeldBack(true)
			answer(len(payload))(t, wired{Conn: c})
		}, requests, 2},
		{"net.Buffers", func(t *testing.T, c *Conn) {
			n, err := (&net.Buffers{[]byte(payload)}).WriteTo(c)
			require.NoError(t, err)
			require.EqualValues(t, len(payload), n)
		}, requests, 2},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			accepted, peer := pair(t)
			conn, observer := wrap(t, accepted, AckAuto)
			w := wired{conn, observer, peer}
			for range 32 { // past the segments that the kernel acknowledges at once
				receive(5)(t, w)
				answer(5)(t, w)
			}
			before, err := Info(conn)
			require.NoError(t, err)
			for range requests {
				receive(5)(t, w)
				tc.answer(t, conn)
				await(16)(t, w)
			}
			after, err := Info(conn)
			require.NoError(t, err)
			require.EqualValues(t, tc.acks, observer.acknowledged.Load())
			require.InDelta(t, tc.segments, float64(after.Segs_out-before.Segs_out)/requests, 0.2)
		})
	}
}

func TestMPTCPRefusesOnce(t *testing.T) {
	for _, mode := range []AckMode{AckAuto, AckOn} {
		t.Run(string(mode), func(t *testing.T) {
			accepted, peer := mptcpPair(t)
			conn, observer := wrap(t, accepted, mode)
			for range 3 {
				receive(5)(t, wired{conn, observer, peer})
				await(16)(t, wired{conn, observer, peer})
			}
			answer(5)(t, wired{Conn: conn})
			require.Equal(t, result{5, nil}, read(peer, 16)())

			require.EqualValues(t, 1, observer.failed.Load())
			require.ErrorIs(t, *observer.err.Load(), syscall.ENOPROTOOPT)
			require.Zero(t, observer.acknowledged.Load())
		})
	}
}

// Both directions at once, for the race detector to watch.
func TestReadAndWriteAtOnce(t *testing.T) {
	const messages, size = 2000, 64
	accepted, peer := pair(t)
	conn, _ := wrap(t, accepted, AckAuto)
	write := func(c net.Conn) func() result {
		return func() result {
			for range messages {
				if _, err := c.Write(make([]byte, size)); err != nil {
					return result{0, err}
				}
			}
			return result{messages * size, nil}
		}
	}
	drain := func(c net.Conn) func() result {
		return func() result {
			n, err := io.ReadFull(c, make([]byte, messages*size))
			return result{int64(n), err}
		}
	}
	for _, done := range []<-chan result{
		inBackground(write(conn)), inBackground(drain(conn)),
		inBackground(write(peer)), inBackground(drain(peer)),
	} {
		require.Equal(t, result{messages * size, nil}, <-done)
	}
}

// A client that keeps Nagle's algorithm on and sends its request in pieces waits
// for the delayed acknowledgement of the first piece, at least TCP_DELACK_MIN of
// the kernel's include/net/tcp.h: 40 ms.
func TestStall(t *testing.T) {
	const pieces, piece, warmUp, rounds = 3, "**", 30, 11
	const stalled, prompt = 30 * time.Millisecond, 10 * time.Millisecond
	for _, v := range variants {
		for _, through := range []string{"server", "tunnel"} {
			t.Run(v.name+"/"+through, func(t *testing.T) {
				accepted, client := pair(t)
				server := v.wrap(t, accepted)
				if through == "tunnel" {
					server = tunnel(t, server)
				}
				served := inBackground(func() result { return result{0, reply(server, pieces*len(piece))} })

				require.NoError(t, client.SetNoDelay(false))
				var took []time.Duration
				for range warmUp + rounds {
					started := time.Now()
					for range pieces {
						send(t, client, piece)
					}
					require.Equal(t, result{1, nil}, read(client, 2)())
					took = append(took, time.Since(started))
				}
				took = took[warmUp:]
				slices.Sort(took)
				median := took[rounds/2]
				if v.name == "TCPConn" {
					require.Greater(t, median, stalled)
				} else {
					require.Less(t, median, prompt)
				}

				require.NoError(t, client.CloseWrite())
				require.NoError(t, (<-served).err)
				require.NoError(t, server.CloseWrite())
			})
		}
	}
}

// A client that sends each request in one write costs AckAuto no segment more
// than a plain connection, and AckOn one for each request.
func TestSegments(t *testing.T) {
	const requests, size = 2000, 100
	segments := make(map[string]float64)
	for _, v := range variants {
		accepted, client := pair(t)
		server := v.wrap(t, accepted)
		served := inBackground(func() result { return result{0, reply(server, size)} })
		request := make([]byte, size)
		for range requests {
			_, err := client.Write(request)
			require.NoError(t, err)
			require.Equal(t, result{1, nil}, read(client, 2)())
		}
		info, err := Info(accepted)
		require.NoError(t, err)
		require.NoError(t, client.CloseWrite())
		require.NoError(t, (<-served).err)

		t.Logf("%s: for each request %.3f segments in, %.3f out", v.name,
			float64(info.Segs_in)/requests, float64(info.Segs_out)/requests)
		segments[v.name+" in"] = float64(info.Segs_in)
		segments[v.name+" out"] = float64(info.Segs_out)
	}
	require.InEpsilon(t, segments["TCPConn in"], segments["auto in"], 0.01)
	require.InEpsilon(t, segments["TCPConn out"], segments["auto out"], 0.01)
	require.Greater(t, segments["on out"], 1.8*segments["TCPConn out"])
}

// Towards a client that sends each request in two pieces, AckAuto sends one
// acknowledgement, for the first piece. The answer carries the other.
func TestSegmentsWithoutAStall(t *testing.T) {
	const requests, pieces, piece = 500, 2, "**"
	accepted, client := pair(t)
	conn, _ := wrap(t, accepted, AckAuto)
	served := inBackground(func() result { return result{0, reply(conn, pieces*len(piece))} })
	require.NoError(t, client.SetNoDelay(false))
	for range requests {
		for range pieces {
			send(t, client, piece)
		}
		require.Equal(t, result{1, nil}, read(client, 2)())
	}
	info, err := Info(conn)
	require.NoError(t, err)
	require.NoError(t, client.CloseWrite())
	require.NoError(t, (<-served).err)

	t.Logf("for each request %.3f segments out", float64(info.Segs_out)/requests)
	require.Less(t, float64(info.Segs_out), 2.2*requests)
}
