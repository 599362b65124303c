package socket

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// answerPieces reads a message of two pieces of five bytes from c, and answers each
// read with a byte. It returns how many.
func answerPieces(t testing.TB, c net.Conn) (answers int) {
	t.Helper()
	buf := make([]byte, 64)
	for n := 0; n < 10; answers++ {
		m, err := c.Read(buf)
		require.NoError(t, err)
		n += m
		send(t, c, "*")
	}
	return answers
}

// sendPieces sends such a message with Nagle's algorithm on.
func sendPieces(t testing.TB, c net.Conn) {
	t.Helper()
	send(t, c, "12345")
	send(t, c, "67890")
}

// What is written while the peer's window is full does not leave, and carries no
// acknowledgement; the Conn takes it for one that does. The peer waits once all the
// same: when the timer has had to acknowledge, the kernel leaves its "pingpong" mode
// (tcp_delack_timer_handler in its net/ipv4/tcp_timer.c), and acknowledges as soon as
// everything is read.
func TestFullWindow(t *testing.T) {
	const rounds = 40
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			accepted, peer := pair(t)
			c := v.wrap(t, accepted)
			require.NoError(t, peer.SetReadBuffer(4<<10))
			require.NoError(t, accepted.SetWriteBuffer(4<<20))
			require.NoError(t, peer.SetNoDelay(false))
			for range rounds {
				sendPieces(t, peer)
				_, err := io.ReadFull(peer, make([]byte, answerPieces(t, c)))
				require.NoError(t, err)
			}
			_, err := c.Write(make([]byte, 256<<10))
			require.NoError(t, err)
			took := measure(t, rounds, func(int) {
				sendPieces(t, peer)
				answerPieces(t, c)
			})
			var unsent int
			onDescriptor(t, accepted, func(fd int) { unsent, _ = unix.IoctlGetInt(fd, unix.SIOCOUTQNSD) })
			require.Positive(t, unsent)
			t.Logf("median %v, most %v, %d over 30 ms; %d bytes unsent", took.median(), took[rounds-1], took.over(30*time.Millisecond), unsent)
			require.Less(t, took.median(), 10*time.Millisecond)
			require.LessOrEqual(t, took.over(30*time.Millisecond), 3)
		})
	}
}

// What is written under TCP_CORK carries no acknowledgement, which the Conn has to be told.
func TestCorkedWrites(t *testing.T) {
	const warmUp, rounds = 20, 11
	for _, told := range []bool{false, true} {
		t.Run(fmt.Sprintf("told %t", told), func(t *testing.T) {
			accepted, peer := pair(t)
			c, observer := wrap(t, accepted, AckAuto)
			require.NoError(t, peer.SetNoDelay(false))
			cork := func(value int64) {
				refused, err := Set(c, []Setting{to(Cork, value)})
				require.NoError(t, err)
				require.Empty(t, refused)
				if told {
					c.SetHeldBack(value == 1)
				}
			}
			exchange := func(int) {
				cork(1)
				sendPieces(t, peer)
				answers := answerPieces(t, c)
				cork(0)
				_, err := io.ReadFull(peer, make([]byte, answers))
				require.NoError(t, err)
			}
			measure(t, warmUp, exchange)
			took := measure(t, rounds, exchange)
			t.Logf("median %v, most %v; %s", took.median(), took[rounds-1], observer)
			if told {
				require.Less(t, took.median(), 10*time.Millisecond)
			} else {
				require.Greater(t, took.median(), 30*time.Millisecond)
			}
		})
	}
}

// TestPush: what is corked leaves with Push, and what comes after waits for the next.
func TestPush(t *testing.T) {
	accepted, peer := pair(t)
	c, _ := wrap(t, accepted, AckAuto)
	refused, err := Set(c, []Setting{to(Cork, 1)})
	require.NoError(t, err)
	require.Empty(t, refused)
	unsent := func() (n int) {
		onDescriptor(t, accepted, func(fd int) { n, _ = unix.IoctlGetInt(fd, unix.SIOCOUTQNSD) })
		return n
	}
	for range 3 {
		send(t, c, "12345")
		require.Equal(t, 5, unsent())
		require.NoError(t, Push(c))
		require.Zero(t, unsent())
		_, err = io.ReadFull(peer, make([]byte, 5))
		require.NoError(t, err)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = Push(c) }))
	require.NoError(t, c.Close())
	require.ErrorIs(t, Push(c), net.ErrClosed)
}
