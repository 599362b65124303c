package socket

import (
	"sync/atomic"
	"time"
)

// shorten sets the kernel's timer to the least that it takes, unless it is to be kept. It returns
// what the timer was, 0 where there is none, and what it is now, 0 where that is the same. Before
// Linux 6.15 the kernel takes none, nor does a socket that speaks MPTCP.
func shorten(fd int, keep bool) (before, short time.Duration) {
	before = delayedAckMax(fd)
	if before == 0 || keep {
		return before, 0
	}
	short = shortestDelay(fd)
	if short >= before || setDelayedAckMax(fd, short) != nil {
		return before, 0
	}
	return before, short
}

// shortest is the least TCP_DELACK_MAX_US that this kernel takes, once it is known.
var shortest atomic.Int64

// shortestDelay returns the least TCP_DELACK_MAX_US, which is two clock ticks (TCP_TIMEOUT_MIN in
// the kernel's include/net/tcp.h): 8 ms at 250 Hz. The first time it tries values on fd, and leaves
// the least there. The kernel rounds up to clock ticks, 100 to 1000 in a second.
func shortestDelay(fd int) time.Duration {
	for d := time.Millisecond; shortest.Load() == 0 && d <= 20*time.Millisecond; d += time.Millisecond {
		if setDelayedAckMax(fd, d+time.Microsecond) == nil {
			shortest.Store(int64(delayedAckMax(fd)))
		}
	}
	return time.Duration(shortest.Load())
}

func setDelayedAckMax(fd int, d time.Duration) error {
	return DelayedAckMax.set(fd, Value{Number: d.Microseconds()})
}
