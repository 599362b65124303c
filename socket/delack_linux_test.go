package socket

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestConnTunesTheTimer: a Conn shortens the kernel's timer when it has learned that its peer does not
// wait, unless the configuration sets it, and restores it where replies come later than the short one.
func TestConnTunesTheTimer(t *testing.T) {
	const kernelsOwn = 200 * time.Millisecond // TCP_DELACK_MAX in the kernel's include/net/tcp.h
	requireTaken(t, to(DelayedAckMax, int(kernelsOwn.Microseconds())))
	for _, keep := range []bool{false, true} {
		accepted, peer := pair(t)
		observer := new(acks)
		conn, err := NewConn(accepted, AckOptions{Mode: AckAuto, KeepDelayedAckMax: keep}, observer)
		require.NoError(t, err)
		timer := func() (d time.Duration) {
			onDescriptor(t, accepted, func(fd int) { d = delayedAckMax(fd) })
			return d
		}
		answeredAfter := func(d time.Duration) {
			receive(5)(t, wired{conn, observer, peer})
			done := inBackground(read(conn, 4096))
			awaitParked(t, 1)
			time.Sleep(d) // the handler
			send(t, conn, "12345")
			require.NoError(t, conn.SetReadDeadline(time.Unix(1, 0)))
			require.ErrorIs(t, (<-done).err, os.ErrDeadlineExceeded)
			require.NoError(t, conn.SetReadDeadline(time.Time{}))
		}
		for range 4 {
			require.Equal(t, kernelsOwn, timer())
			answeredAfter(0)
		}
		require.Equal(t, "4 acknowledgements, 4 wasted, 1 times patient, 0 stalls", observer.String())
		if keep {
			require.Equal(t, kernelsOwn, timer())
			continue
		}
		short := timer()
		require.Less(t, short, 40*time.Millisecond)
		for range 5 {
			answeredAfter(2 * short)
		}
		require.Equal(t, kernelsOwn, timer())
		require.Equal(t, "4 acknowledgements, 4 wasted, 1 times patient, 0 stalls", observer.String())
	}
}
