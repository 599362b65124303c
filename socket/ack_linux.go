package socket

import (
	"sync/atomic"
	"time"
)

// ack is the state of the acknowledgement of received bytes. The goroutine that reads
// and those that write share it.
type ack struct {
	// parked is the time, by now(), at which a read parked. It is 0 where the length of
	// the wait does not matter, that is unless bytes are owed an acknowledgement that the
	// Conn does not ask for, or the one that it asked for is on trial.
	parked atomic.Int64

	due  atomic.Uint32
	held atomic.Uint32
}

// Values of ack.due.
const (
	// nothing was read since the last write.
	nothing uint32 = iota

	// owed: bytes were read since the last write, so that the kernel may be holding
	// their acknowledgement back for a reply to carry.
	owed

	// asked: they were acknowledged at a park, and nothing has happened since.
	asked
)

// Values of ack.held.
const (
	// sent: what is written leaves.
	sent uint32 = iota

	// heldBack: it may stay in the kernel.
	heldBack

	// unsent: and something was written meanwhile.
	unsent
)

// now is a clock without allocation and for differences only. It is never 0.
func now() int64 { return int64(time.Since(epoch)) }

var epoch = time.Now().Add(-time.Second)

// Settle says that the peer does not wait for the acknowledgement of what was read so
// far, because it is a whole message: the next write will carry it. The goroutine that
// reads calls it, before it reads on.
func (c *Conn) Settle() { c.due.Store(nothing) }

// Settler returns Settle as a hook of httptrace.ClientTrace.PutIdleConn. It is made once:
// made for each request it would be an allocation.
func (c *Conn) Settler() func(error) {
	if made := c.settler.Load(); made != nil {
		return *made
	}
	settler := func(error) { c.Settle() }
	c.settler.Store(&settler)
	return settler
}

// SetHeldBack says whether what is written may stay in the kernel, as with TCP_CORK.
// A write then counts neither as carrying an acknowledgement nor as wasting one.
// SetHeldBack(false) counts what was written meanwhile as sent.
//
// Where a write leaves all the same it costs a system call, and a segment because the
// kernel acknowledges the peer's next message by itself. Nagle's algorithm is
// therefore no reason to call it: it holds back what follows bytes that are on their
// way, and those carried the acknowledgement unless both sides sent at once.
func (c *Conn) SetHeldBack(held bool) {
	if held {
		c.held.CompareAndSwap(sent, heldBack)
		return
	}
	if c.held.Swap(sent) == unsent {
		c.carries()
	}
}

// Push sends what TCP_CORK holds back, and sets it again.
//
// Errors: net.ErrClosed.
func (c *Conn) Push() error {
	if c.held.CompareAndSwap(unsent, heldBack) {
		c.carries()
	}
	return controlRaw(c.raw, push)
}

// push ignores errors: an open TCP socket takes both values.
func push(fd uintptr) {
	_ = Cork.set(int(fd), Value{Number: 0})
	_ = Cork.set(int(fd), Value{Number: 1})
}

// sends is called before a write.
func (c *Conn) sends() {
	if c.held.Load() == sent {
		c.carries()
		return
	}
	c.held.CompareAndSwap(heldBack, unsent)
}

// carries is called when bytes leave, and with them the acknowledgement of what was read.
func (c *Conn) carries() {
	if c.due.Load() == nothing {
		return
	}
	switch c.due.Swap(nothing) {
	case owed:
		c.inTime()
	case asked:
		c.wasted()
	}
}

// park acknowledges before the goroutine parks. A one-byte buffer is net/http's
// watch over a client whose request is being answered, unless it is what the last
// read left to fill, as io.ReadFull does, or the caller reads byte by byte.
func (c *Conn) park(fd int) {
	if len(c.buf) == 1 && !c.byByte && !c.always {
		return
	}
	switch {
	case c.due.Load() != owed:
	case !c.never && !c.refused && !c.patient():
		if c.left.Load() == 1 { // the short timer is there in time for the first stall
			c.tune(fd)
		}
		c.acknowledge(fd)
	case !c.sending.Load():
		if !c.never && !c.refused {
			c.bePatient(fd)
		}
		c.parked.Store(now())
	}
}

// resume reports a stall if the wait of the parked read looks like one. The wait is
// counted without the round trip, for which tcpi_min_rtt is the estimate that the peer's
// own delayed acknowledgements do not raise, and without the time for which the bytes
// lay in the kernel while this process was busy.
func (c *Conn) resume(fd int) {
	parked := c.parked.Load()
	if parked == 0 {
		return
	}
	c.parked.Store(0)
	due := c.due.Load()
	if due == nothing { // a reply was written meanwhile
		return
	}
	wait := time.Duration(now() - parked)
	if due == asked {
		c.judge(wait)
		return
	}
	if least := c.leastStall(); wait < least {
		if wait < least/2 {
			c.clear()
		}
		return
	}
	var info TCPInfo
	var rtt int64
	if err := info.read(fd); err == nil {
		wait -= time.Duration(info.Last_data_recv) * time.Millisecond
		if value, known := info.Value(MinRTT); known {
			rtt = value
			wait -= time.Duration(rtt) * time.Microsecond
		}
	}
	least, most := stallOf(delayedAckMax(fd))
	if wait >= least && wait <= most && c.suspect(uint32(rtt)) { //nolint:gosec // it has 32 bits in tcp_info
		c.observer.Stalled(c, wait)
	}
}

// acknowledge makes the kernel send the acknowledgement that it holds back, if any.
func (c *Conn) acknowledge(fd int) {
	if c.refused || !c.due.CompareAndSwap(owed, asked) { // a write came first
		return
	}
	value := Value{Number: ackOnce}
	if c.always {
		value.Number = ackAtOnce
		c.due.Store(nothing)
	}
	if err := QuickAck.set(fd, value); err != nil {
		c.refused = true
		c.observer.AcknowledgeFailed(c, err)
		return
	}
	c.observer.Acknowledged()
	if c.onTrial {
		c.parked.Store(now())
	}
}

// Values of TCP_QUICKACK, as tcp_sock_set_quickack in the kernel's net/ipv4/tcp.c
// reads them: any value but 0 sends the acknowledgement that is due, and an odd
// one makes the kernel acknowledge without delay for a while, which is more segments.
const (
	ackAtOnce = 1
	ackOnce   = 2
)
