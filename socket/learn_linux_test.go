package socket

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// kernelsOwn is TCP_DELACK_MAX in the kernel's include/net/tcp.h.
const kernelsOwn = 200 * time.Millisecond

// during parks a read, does something meanwhile, and ends the read.
func during(do func(t *testing.T, w wired)) step {
	return func(t *testing.T, w wired) {
		done := inBackground(read(w, 4096))
		awaitParked(t, 1)
		do(t, w)
		require.NoError(t, w.SetReadDeadline(time.Unix(1, 0)))
		require.ErrorIs(t, (<-done).err, os.ErrDeadlineExceeded)
		require.NoError(t, w.SetReadDeadline(time.Time{}))
	}
}

// passed has a read that is parked have been so for d, where that matters to the Conn.
func passed(w wired, d time.Duration) {
	if w.parked.Load() != 0 {
		w.parked.Store(now() - int64(d))
	}
}

// answeredAfter is a request in one piece, whose answer comes when the read for the next
// has been parked for d.
func answeredAfter(d time.Duration) []step {
	return []step{receive(5), during(func(t *testing.T, w wired) {
		passed(w, d)
		answer(5)(t, w)
	})}
}

// pieces is a request in two small pieces. The second comes after d.
func pieces(d time.Duration) []step { return piecesOf(5, 5, d) }

// piecesOf is pieces of so many bytes.
func piecesOf(first, second int, d time.Duration) []step {
	return []step{receive(first), func(t *testing.T, w wired) {
		done := inBackground(read(w, 4096))
		awaitParked(t, 1)
		passed(w, d)
		send(t, w.peer, strings.Repeat("*", second))
		require.Equal(t, result{int64(second), nil}, <-done)
	}, answer(5)}
}

func TestLearning(t *testing.T) {
	requireTaken(t, to(DelayedAckMax, int(kernelsOwn.Microseconds())))
	least := func(t *testing.T) time.Duration {
		accepted, _ := pair(t)
		var d time.Duration
		require.NoError(t, control(accepted, func(fd int) { d = shortestDelay(fd) }))
		return d
	}(t)
	whole, late, stall := answeredAfter(0), answeredAfter(least*2), pieces(least*5/4)
	times := func(n int, steps []step) []step { return slices.Repeat(steps, n) }
	patient := times(4, whole)
	restored := slices.Concat(patient, times(5, late))

	cases := []struct {
		name                   string
		keep                   bool
		steps                  []step
		asked, wasted, patient int
		stalls                 int
		timer                  time.Duration
	}{
		{"three wasted", false, times(3, whole), 3, 3, 0, 0, kernelsOwn},
		{"four wasted", false, patient, 4, 4, 1, 0, least},
		{"patient", false, times(40, whole), 4, 4, 1, 0, least},
		{"bytes come next", false, times(20, pieces(0)), 20, 0, 0, 0, kernelsOwn},
		{"the configuration sets the timer", true, times(40, whole), 4, 4, 1, 0, kernelsOwn},
		{"answers are late", false, restored, 4, 4, 1, 0, kernelsOwn},
		{"one answer in 40 is late", false, slices.Concat(patient, times(5, slices.Concat(late, times(39, whole)))), 4, 4, 1, 0, least},
		{"one short stall", false, slices.Concat(patient, stall, times(4, whole)), 4, 4, 1, 1, least},
		{"two short stalls far apart", false, slices.Concat(patient, stall, times(40, whole), stall, times(4, whole)), 4, 4, 1, 2, least},
		{"two short stalls", false, slices.Concat(patient, stall, stall, times(4, whole)), 8, 8, 1, 2, least},
		{"short stalls of a peer that does not seem to wait", false, slices.Concat(patient, times(20, pieces(0)), times(3, stall), times(4, whole)), 4, 4, 1, 3, least},
		{"one more", false, slices.Concat(patient, times(20, pieces(0)), times(4, stall), times(4, whole)), 8, 8, 1, 4, least},
		{"a large segment comes at once", false, slices.Concat(patient, times(20, piecesOf(5, smallBytes, 0)), times(2, stall), times(4, whole)), 8, 8, 1, 2, least},
		{"after a large segment", false, slices.Concat(patient, times(20, piecesOf(smallBytes, 5, 0)), times(2, stall), times(4, whole)), 8, 8, 1, 2, least},
		{"after neither a short nor a long time", false, slices.Concat(patient, times(20, pieces(least*5/8)), times(2, stall), times(4, whole)), 8, 8, 1, 2, least},
		{"the kernel's own timer, after small segments", false, slices.Concat(restored, times(20, pieces(0)), pieces(40*time.Millisecond), times(4, whole)), 8, 8, 1, 1, kernelsOwn},
		{"a pause too long for the short timer", false, slices.Concat(patient, times(4, pieces(3*least)), times(4, whole)), 4, 4, 1, 0, least},
		{"one long stall", false, slices.Concat(restored, pieces(40*time.Millisecond), times(4, whole)), 8, 8, 1, 1, kernelsOwn},
		{"a long stall, and the short timer again", false, slices.Concat(restored, pieces(40*time.Millisecond), times(30, whole)), 28, 28, 2, 1, least},
		{"a trial that does not help ends", false, slices.Concat(patient, stall, stall, times(10, pieces(least*5/4))), 8, 4, 2, 2, least},
		{"after that it believes less", false, slices.Concat(patient, stall, stall, times(30, pieces(least*5/4))), 12, 4, 3, 3, least},
		{"a trial that helps", false, slices.Concat(patient, stall, stall, pieces(0), times(24, whole), stall, times(40, whole)), 69, 68, 2, 3, least},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			type outcome struct {
				acknowledged, wasted, patient, stalls int64
				timer                                 time.Duration
			}
			want := outcome{int64(tc.asked), int64(tc.wasted), int64(tc.patient), int64(tc.stalls), tc.timer}
			eventually(t, func() bool { // a busy machine adds milliseconds to the times
				accepted, peer := pair(t)
				observer := new(acks)
				conn, err := NewConn(accepted, AckOptions{Mode: AckAuto, KeepDelayedAckMax: tc.keep}, observer)
				require.NoError(t, err)
				for _, do := range tc.steps {
					do(t, wired{conn, observer, peer})
				}
				got := outcome{
					acknowledged: observer.acknowledged.Load(), wasted: observer.wasted.Load(),
					patient: observer.patient.Load(), stalls: observer.stalled.Load(),
				}
				require.NoError(t, control(accepted, func(fd int) { got.timer = delayedAckMax(fd) }))
				t.Logf("got %+v, want %+v", got, want)
				return got == want
			})
		})
	}
}
