package socket

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"
)

func TestConnIsANetConn(t *testing.T) {
	for _, mode := range []AckMode{AckAuto, AckOn} {
		t.Run(string(mode), func(t *testing.T) {
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				accepted, peer := pair(t)
				conn, _ := wrap(t, accepted, mode)
				return conn, peer, func() { conn.Close(); peer.Close() }, nil
			})
		})
	}
}

// parkThen reads from c, and calls f once that read has parked.
func parkThen(t testing.TB, c tcp, f func() error) result {
	t.Helper()
	done := inBackground(read(c, 16))
	awaitParked(t, 1)
	require.NoError(t, f())
	return <-done
}

func TestConnAnswersLikeTCPConn(t *testing.T) {
	past := time.Unix(1, 0)
	cases := []struct {
		name string
		do   func(t *testing.T, c tcp, peer *net.TCPConn) result
		n    int64
		err  error // that the result is, by errors.Is
	}{
		{"read what is there", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			send(t, peer, "12345")
			return read(c, 16)()
		}, 5, nil},
		{"read part of what is there", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			send(t, peer, "12345")
			return read(c, 3)()
		}, 3, nil},
		{"read what comes later", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			return parkThen(t, c, func() error { send(t, peer, "12345"); return nil })
		}, 5, nil},
		{"read at the end", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			require.NoError(t, peer.Close())
			return read(c, 16)()
		}, 0, io.EOF},
		{"read when the end comes later", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			return parkThen(t, c, peer.CloseWrite)
		}, 0, io.EOF},
		{"read bytes before the end", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			send(t, peer, "12345")
			require.NoError(t, peer.Close())
			return read(c, 16)()
		}, 5, nil},
		{"read nothing", func(_ *testing.T, c tcp, _ *net.TCPConn) result {
			return read(c, 0)()
		}, 0, nil},
		{"read nothing at the end", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			require.NoError(t, peer.Close())
			return read(c, 0)()
		}, 0, nil},
		{"read nothing after Close", func(t *testing.T, c tcp, _ *net.TCPConn) result {
			require.NoError(t, c.Close())
			return read(c, 0)()
		}, 0, net.ErrClosed},
		{"read after Close", func(t *testing.T, c tcp, _ *net.TCPConn) result {
			require.NoError(t, c.Close())
			return read(c, 16)()
		}, 0, net.ErrClosed},
		{"Close while a read is parked", func(t *testing.T, c tcp, _ *net.TCPConn) result {
			return parkThen(t, c, c.Close)
		}, 0, net.ErrClosed},
		{"read after the deadline, bytes there or not", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			send(t, peer, "12345")
			require.NoError(t, c.SetReadDeadline(past))
			return read(c, 16)()
		}, 0, os.ErrDeadlineExceeded},
		{"deadline while a read is parked", func(t *testing.T, c tcp, _ *net.TCPConn) result {
			return parkThen(t, c, func() error { return c.SetReadDeadline(past) })
		}, 0, os.ErrDeadlineExceeded},
		{"read after a deadline was lifted", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			require.ErrorIs(t, parkThen(t, c, func() error { return c.SetReadDeadline(past) }).err, os.ErrDeadlineExceeded)
			require.NoError(t, c.SetReadDeadline(time.Time{}))
			send(t, peer, "12345")
			return read(c, 16)()
		}, 5, nil},
		{"read after a reset", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			reset(t, peer)
			return read(c, 16)()
		}, 0, syscall.ECONNRESET},
		{"reset while a read is parked", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			return parkThen(t, c, func() error { reset(t, peer); return nil })
		}, 0, syscall.ECONNRESET},
		{"write after a reset", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			reset(t, peer)
			require.ErrorIs(t, read(c, 16)().err, syscall.ECONNRESET)
			n, err := c.Write([]byte("12345"))
			return result{int64(n), err}
		}, 0, syscall.EPIPE},
		{"write after Close", func(t *testing.T, c tcp, _ *net.TCPConn) result {
			require.NoError(t, c.Close())
			n, err := c.Write([]byte("12345"))
			return result{int64(n), err}
		}, 0, net.ErrClosed},
		{"write after the deadline", func(t *testing.T, c tcp, _ *net.TCPConn) result {
			require.NoError(t, c.SetWriteDeadline(past))
			n, err := c.Write([]byte("12345"))
			return result{int64(n), err}
		}, 0, os.ErrDeadlineExceeded},
		{"read after CloseRead", func(t *testing.T, c tcp, _ *net.TCPConn) result {
			require.NoError(t, c.CloseRead())
			return read(c, 16)()
		}, 0, io.EOF},
		{"CloseRead while a read is parked", func(t *testing.T, c tcp, _ *net.TCPConn) result {
			return parkThen(t, c, c.CloseRead)
		}, 0, io.EOF},
		{"write after CloseWrite", func(t *testing.T, c tcp, _ *net.TCPConn) result {
			require.NoError(t, c.CloseWrite())
			n, err := c.Write([]byte("12345"))
			return result{int64(n), err}
		}, 0, syscall.EPIPE},
		{"read after CloseWrite", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			require.NoError(t, c.CloseWrite())
			require.ErrorIs(t, read(peer, 16)().err, io.EOF)
			send(t, peer, "12345")
			return read(c, 16)()
		}, 5, nil},
		{"WriteTo after Close", func(t *testing.T, c tcp, _ *net.TCPConn) result {
			require.NoError(t, c.Close())
			n, err := c.WriteTo(io.Discard)
			return result{n, err}
		}, 0, net.ErrClosed},
		{"WriteTo after the deadline", func(t *testing.T, c tcp, _ *net.TCPConn) result {
			require.NoError(t, c.SetReadDeadline(past))
			n, err := c.WriteTo(io.Discard)
			return result{n, err}
		}, 0, os.ErrDeadlineExceeded},
		{"WriteTo after a reset", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			reset(t, peer)
			n, err := c.WriteTo(io.Discard)
			return result{n, err}
		}, 0, syscall.ECONNRESET},
		{"WriteTo until the end", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			send(t, peer, "12345")
			require.NoError(t, peer.Close())
			n, err := c.WriteTo(io.Discard)
			return result{n, err}
		}, 5, nil},
		{"WriteTo a writer that fails", func(t *testing.T, c tcp, peer *net.TCPConn) result {
			send(t, peer, "12345")
			r, w := io.Pipe()
			require.NoError(t, r.Close())
			n, err := c.WriteTo(w)
			return result{n, err}
		}, 0, io.ErrClosedPipe},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			answers := make(map[string]string)
			for _, v := range variants {
				accepted, peer := pair(t)
				c := v.wrap(t, accepted)
				got := tc.do(t, c, peer)
				require.Equal(t, tc.n, got.n, v.name)
				require.ErrorIs(t, got.err, tc.err, v.name)
				answers[v.name] = shape(c, got.err)
			}
			require.Equal(t, answers["TCPConn"], answers["auto"])
			require.Equal(t, answers["TCPConn"], answers["on"])
		})
	}
}

// shape describes all of an error of c but the addresses, which differ from one
// connection to the next: of them it says whose they are.
func shape(c net.Conn, err error) string {
	if opErr, ok := err.(*net.OpError); ok { //nolint:errorlint // one layer at a time
		return fmt.Sprintf("%s %s, ours %t, theirs %t, timeout %t, temporary %t: ", opErr.Op, opErr.Net,
			opErr.Source == c.LocalAddr(), opErr.Addr == c.RemoteAddr(), opErr.Timeout(), opErr.Temporary()) +
			shape(c, opErr.Err)
	}
	return fmt.Sprintf("%T %v", err, err)
}

func TestReadsWaitForEachOther(t *testing.T) {
	accepted, peer := pair(t)
	conn, _ := wrap(t, accepted, AckAuto)
	first := inBackground(read(conn, 16))
	awaitParked(t, 1)
	second := inBackground(read(conn, 16))
	require.NoError(t, conn.Close())
	require.ErrorIs(t, (<-first).err, net.ErrClosed)
	require.ErrorIs(t, (<-second).err, net.ErrClosed)
	require.ErrorIs(t, read(peer, 16)().err, io.EOF)
}

func TestNewConnNeedsASocket(t *testing.T) {
	_, err := NewConn(new(net.TCPConn), AckOptions{Mode: AckAuto}, new(acks))
	require.ErrorIs(t, err, syscall.EINVAL)
}

func TestNothingLeaks(t *testing.T) {
	const conns = 500
	ln := listen(t)
	connect(t, ln, net.Dialer{}) // so that the runtime's poller is there
	openBefore, runningBefore := descriptors(t), runtime.NumGoroutine()

	var ours, theirs [conns]net.Conn
	var done [conns]<-chan result
	for i := range conns {
		c, peer := connect(t, ln, net.Dialer{})
		conn, _ := wrap(t, c, AckAuto)
		ours[i], theirs[i] = conn, peer
		if i%2 == 0 {
			done[i] = inBackground(read(conn, 16))
			continue
		}
		done[i] = inBackground(func() result {
			n, err := conn.WriteTo(io.Discard)
			return result{n, err}
		})
	}
	awaitParked(t, conns)
	for i := range conns {
		require.NoError(t, ours[i].Close())
		require.ErrorIs(t, (<-done[i]).err, net.ErrClosed)
		require.NoError(t, theirs[i].Close())
	}

	for deadline := time.Now().Add(patience); descriptors(t) > openBefore || runtime.NumGoroutine() > runningBefore; runtime.Gosched() {
		require.True(t, time.Now().Before(deadline), "%d descriptors open, %d before; %d goroutines, %d before",
			descriptors(t), openBefore, runtime.NumGoroutine(), runningBefore)
	}
}

var _ tcp = (*Conn)(nil)

// closer is an Observer in whose Closing another goroutine closes the connection.
type closer struct {
	acks
	err error // of asking the kernel about it then
}

func (o *closer) Closing(c *Conn) {
	closing := make(chan struct{})
	go func() {
		close(closing)
		c.Close()
	}()
	<-closing
	for range 1000 {
		runtime.Gosched()
		if _, o.err = Info(c.TCPConn); o.err != nil {
			return
		}
	}
}

// A server that stops closes idle connections while their peers do.
func TestSocketIsOpenInClosing(t *testing.T) {
	accepted, _ := pair(t)
	observer := new(closer)
	conn, err := NewConn(accepted, AckOptions{Mode: AckAuto}, observer)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, observer.err)
}
