package socket

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// random returns n bytes that no mistake reproduces.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// fileOf returns a file that holds b, at its start.
func fileOf(t testing.TB, b []byte) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	_, err = f.Write(b)
	require.NoError(t, err)
	_, err = f.Seek(0, io.SeekStart)
	require.NoError(t, err)
	return f
}

// digest reads r to its end.
func digest(r io.Reader) (sum [sha256.Size]byte, n int64, err error) {
	h := sha256.New()
	n, err = io.Copy(h, r)
	return [sha256.Size]byte(h.Sum(nil)), n, err
}

// socketBuffer is a small send and receive buffer in bytes, so that a copy waits
// on both of its sides many times. It holds two segments of loopback, without which
// a sender waits for a timer.
const socketBuffer = 64 << 10

func narrow(t testing.TB, conns ...*net.TCPConn) {
	t.Helper()
	for _, c := range conns {
		require.NoError(t, c.SetReadBuffer(socketBuffer))
		require.NoError(t, c.SetWriteBuffer(socketBuffer))
	}
}

func TestCopyArrivesWhole(t *testing.T) {
	const size, part = 6<<20 + 4321, 1<<20 + 123
	payload := random(size)

	auto := func(t *testing.T, c *net.TCPConn) *Conn { conn, _ := wrap(t, c, AckAuto); return conn }
	on := func(t *testing.T, c *net.TCPConn) *Conn { conn, _ := wrap(t, c, AckOn); return conn }
	cases := []struct {
		name string
		pair func(testing.TB) (accepted, peer *net.TCPConn) // that src is of
		copy func(t *testing.T, dst, src *net.TCPConn) (int64, error)
		want int
	}{
		{"Conn to TCPConn", pair, func(t *testing.T, dst, src *net.TCPConn) (int64, error) {
			return io.Copy(dst, auto(t, src))
		}, size},
		{"Conn to TCPConn, on", pair, func(t *testing.T, dst, src *net.TCPConn) (int64, error) {
			return io.Copy(dst, on(t, src))
		}, size},
		{"Conn to Conn", pair, func(t *testing.T, dst, src *net.TCPConn) (int64, error) {
			return io.Copy(auto(t, dst), auto(t, src))
		}, size},
		{"TCPConn to Conn", pair, func(t *testing.T, dst, src *net.TCPConn) (int64, error) {
			return io.Copy(auto(t, dst), src)
		}, size},
		{"MPTCP Conn to Conn", mptcpPair, func(t *testing.T, dst, src *net.TCPConn) (int64, error) {
			return io.Copy(auto(t, dst), auto(t, src))
		}, size},
		{"Conn to another writer to Conn", pair, func(t *testing.T, dst, src *net.TCPConn) (int64, error) {
			r, w := io.Pipe()
			go func() {
				_, err := io.Copy(w, auto(t, src))
				w.CloseWithError(err)
			}()
			return io.Copy(auto(t, dst), r)
		}, size},
		{"part of Conn to Conn", pair, func(t *testing.T, dst, src *net.TCPConn) (int64, error) {
			return io.CopyN(auto(t, dst), auto(t, src), part)
		}, part},
		{"file to Conn", pair, func(t *testing.T, dst, _ *net.TCPConn) (int64, error) {
			return io.Copy(auto(t, dst), fileOf(t, payload))
		}, size},
		{"part of file to Conn", pair, func(t *testing.T, dst, _ *net.TCPConn) (int64, error) {
			return io.CopyN(auto(t, dst), fileOf(t, payload), part)
		}, part},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			src, source := tc.pair(t)
			dst, sink := pair(t)
			narrow(t, src, source, dst, sink)
			sent := inBackground(func() result {
				n, err := source.Write(payload)
				return result{int64(n), errors.Join(err, source.CloseWrite())}
			})
			copied := inBackground(func() result {
				n, err := tc.copy(t, dst, src)
				return result{n, errors.Join(err, dst.CloseWrite())}
			})
			sum, n, err := digest(sink)
			require.NoError(t, err)
			require.EqualValues(t, tc.want, n)
			require.Equal(t, sha256.Sum256(payload[:tc.want]), sum)
			require.Equal(t, result{int64(tc.want), nil}, <-copied)
			src.Close() // with a part of it unread, the source cannot send all
			<-sent
		})
	}
}

func TestEcho(t *testing.T) {
	payload := random(4 << 20)
	accepted, peer := pair(t)
	conn, observer := wrap(t, accepted, AckAuto)
	echoed := inBackground(func() result {
		n, err := io.Copy(conn, conn)
		return result{n, errors.Join(err, conn.CloseWrite())}
	})

	// What is echoed at once carries the acknowledgement.
	for range 3 {
		awaitParked(t, 1)
		send(t, peer, "*")
		require.Equal(t, result{1, nil}, read(peer, 2)())
	}
	awaitParked(t, 1)
	require.Zero(t, observer.acknowledged.Load())

	sent := inBackground(func() result {
		n, err := peer.Write(payload)
		return result{int64(n), errors.Join(err, peer.CloseWrite())}
	})
	sum, _, err := digest(peer)
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(payload), sum)
	require.NoError(t, (<-sent).err)
	require.Equal(t, result{int64(len(payload)) + 3, nil}, <-echoed)
}

func TestHalfClosePassesOn(t *testing.T) {
	accepted, client := pair(t)
	conn, _ := wrap(t, accepted, AckAuto)
	backend := tunnel(t, conn)

	send(t, client, "question")
	require.NoError(t, client.CloseWrite())
	question, err := io.ReadAll(backend)
	require.NoError(t, err)
	require.Equal(t, "question", string(question))

	send(t, backend, "answer")
	require.NoError(t, backend.CloseWrite())
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "answer", string(got))
}

// A copy waits in a way that a plain read does not see, and acknowledges all the
// same: once for each time that it parks with bytes received.
func TestWriteToAcknowledges(t *testing.T) {
	cases := []struct {
		name string
		to   func(testing.TB, *net.TCPConn) io.Writer
	}{
		{"TCPConn", func(_ testing.TB, c *net.TCPConn) io.Writer { return c }},
		{"Conn", func(t testing.TB, c *net.TCPConn) io.Writer { conn, _ := wrap(t, c, AckAuto); return conn }},
		{"another writer", func(_ testing.TB, c *net.TCPConn) io.Writer { return struct{ io.Writer }{c} }},
	}
	for _, mode := range []AckMode{AckAuto, AckOn} {
		for _, tc := range cases {
			t.Run(string(mode)+"/"+tc.name, func(t *testing.T) {
				accepted, source := pair(t)
				conn, observer := wrap(t, accepted, mode)
				dst, sink := pair(t)
				target := tc.to(t, dst)
				copied := inBackground(func() result {
					n, err := conn.WriteTo(target)
					return result{n, err}
				})
				awaitParked(t, 1)
				require.Zero(t, observer.acknowledged.Load(), "nothing came")
				for i := range int64(3) {
					send(t, source, "12345")
					require.Equal(t, result{5, nil}, read(sink, 16)())
					awaitParked(t, 1)
					require.Equal(t, i+1, observer.acknowledged.Load())
				}
				require.NoError(t, source.Close())
				require.Equal(t, result{15, nil}, <-copied)
			})
		}
	}
}

// What is moved to a Conn carries the acknowledgement of what that one received.
func TestSpliceCountsAsAWrite(t *testing.T) {
	from, source := pair(t)
	src, _ := wrap(t, from, AckAuto)
	to, sink := pair(t)
	dst, observer := wrap(t, to, AckAuto)
	copied := inBackground(func() result {
		n, err := src.WriteTo(dst)
		return result{n, err}
	})

	w := wired{dst, observer, sink}
	receive(5)(t, w)
	send(t, source, "12345")
	require.Equal(t, result{5, nil}, read(sink, 16)())
	parked := inBackground(read(dst, 16))
	awaitParked(t, 2)
	require.Zero(t, observer.acknowledged.Load())

	require.NoError(t, dst.CloseRead())
	require.ErrorIs(t, (<-parked).err, io.EOF)
	require.NoError(t, source.Close())
	require.Equal(t, result{5, nil}, <-copied)
}

func TestWriteToBreaksOff(t *testing.T) {
	cases := []struct {
		name string
		cut  func(t *testing.T, src *Conn, source, sink *net.TCPConn)
		want error // nil for the end of the stream
	}{
		{"the source resets", func(t *testing.T, _ *Conn, source, _ *net.TCPConn) { reset(t, source) }, syscall.ECONNRESET},
		{"the source closes", func(t *testing.T, _ *Conn, source, _ *net.TCPConn) { require.NoError(t, source.Close()) }, nil},
		{"the sink resets", func(t *testing.T, _ *Conn, source, sink *net.TCPConn) {
			reset(t, sink)
			// The first bytes may learn of the reset, the later ones do.
			for {
				if _, err := source.Write(make([]byte, 1<<10)); err != nil {
					return
				}
			}
		}, syscall.ECONNRESET},
		{"Close", func(t *testing.T, src *Conn, _, _ *net.TCPConn) { require.NoError(t, src.Close()) }, net.ErrClosed},
		{"deadline", func(t *testing.T, src *Conn, _, _ *net.TCPConn) {
			require.NoError(t, src.SetReadDeadline(time.Unix(1, 0)))
		}, os.ErrDeadlineExceeded},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			accepted, source := pair(t)
			src, _ := wrap(t, accepted, AckAuto)
			dst, sink := pair(t)
			copied := inBackground(func() result {
				n, err := io.Copy(dst, src)
				if err != nil {
					src.Close()
				}
				return result{n, err}
			})
			send(t, source, "12345")
			require.Equal(t, result{5, nil}, read(sink, 16)())
			awaitParked(t, 1)
			tc.cut(t, src, source, sink)

			got := <-copied
			if tc.want == nil {
				require.Equal(t, result{5, nil}, got)
				return
			}
			require.ErrorIs(t, got.err, tc.want)
			opErr, ok := errors.AsType[*net.OpError](got.err)
			require.True(t, ok)
			require.Equal(t, "writeto", opErr.Op)
			require.Equal(t, src.LocalAddr(), opErr.Source)
			require.Equal(t, src.RemoteAddr(), opErr.Addr)
		})
	}
}

// On its way through a *net.TCPConn, net.Buffers is one writev(2), and so one
// segment where three writes are three.
func TestBuffersAreOneSegment(t *testing.T) {
	const whole = "headerbodytrailer"
	pieces := []string{"header", "body", "trailer"}
	segments := func(write func(c *Conn)) uint32 {
		accepted, peer := pair(t)
		conn, _ := wrap(t, accepted, AckAuto)
		write(conn)
		require.NoError(t, conn.CloseWrite())
		got, err := io.ReadAll(peer)
		require.NoError(t, err)
		require.Equal(t, whole, string(got))
		info, err := Info(conn)
		require.NoError(t, err)
		return info.Data_segs_out
	}

	require.EqualValues(t, 3, segments(func(c *Conn) {
		for _, piece := range pieces {
			send(t, c, piece)
		}
	}))
	require.EqualValues(t, 1, segments(func(c *Conn) {
		buffers := make(net.Buffers, 0, len(pieces))
		for _, piece := range pieces {
			buffers = append(buffers, []byte(piece))
		}
		n, err := buffers.WriteTo(c)
		require.NoError(t, err)
		require.EqualValues(t, len(whole), n)
		require.Empty(t, buffers)
	}))
}
