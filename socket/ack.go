package socket

import (
	"syscall"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket/quickack"
)

// now is a clock without allocation and for differences only. It is never 0.
func now() time.Duration { return time.Since(epoch) }

var epoch = time.Now().Add(-time.Second)

// Settler returns a function that says that the peer does not wait for the acknowledgement of what was read so far,
// because it is a whole message: the next write will carry it. The goroutine that reads calls it, before it reads on,
// as a hook of httptrace.ClientTrace.PutIdleConn. It is made once: made for each request it would be an allocation.
func (c *Conn) Settler() func(error) {
	if made := c.settler.Load(); made != nil {
		return *made
	}
	settler := func(error) { c.learner.Settle() }
	c.settler.Store(&settler)
	return settler
}

// SetHeldBack says whether what is written may stay in the kernel, as with TCP_CORK. A write then counts neither as
// carrying an acknowledgement nor as wasting one. SetHeldBack(false) counts what was written meanwhile as sent.
//
// Nagle's algorithm is no reason to call it: what it holds back follows bytes that are on their way, and those carried
// the acknowledgement unless both sides sent at once. A write that leaves all the same would cost a system call and a
// segment.
func (c *Conn) SetHeldBack(held bool) { c.report(c.learner.HoldBack(held, now)) }

// Push sends what TCP_CORK holds back, and sets it again.
//
// Errors: net.ErrClosed.
func Push(c syscall.Conn) error {
	if c, ok := c.(*Conn); ok {
		c.report(c.learner.Push(now))
	}
	_, err := Set(c, push)
	return err
}

// push has values that an open TCP socket takes.
var push = []Setting{{Cork, Value{Number: 0}}, {Cork, Value{Number: 1}}}

// sends is called before a write.
func (c *Conn) sends() {
	if c.writes.Load() <= handshakeWrites {
		c.writes.Add(1)
	}
	c.report(c.learner.Wrote(now))
}

// report tells the observer what the learner found.
func (c *Conn) report(d quickack.Decision) {
	if d&quickack.Wasted != 0 {
		c.observer.Wasted(c)
	}
	if d&quickack.BecamePatient != 0 {
		c.observer.BecamePatient(c)
	}
}

// park is called before the goroutine parks. A one-byte buffer is net/http's watch over a client whose request is being
// answered, unless it is what the last read left to fill, as io.ReadFull does, or the caller reads byte by byte.
func (c *Conn) park(fd int) {
	watch := len(c.buf) == 1 && !c.byByte
	switch {
	case !c.learner.Owes():
	case c.always.Load():
		c.acknowledge(fd)
	case !watch:
		d := c.learner.Park(c.sending.Load(), now)
		if d&quickack.Shorten != 0 {
			c.learner.Shortened(shorten(fd, c.keep))
		}
		if d&quickack.Restore != 0 {
			_ = setDelayedAckMax(fd, c.learner.Kernels())
		}
		if d&quickack.Acknowledge != 0 {
			c.acknowledge(fd)
		}
	}
}

// received is called when a read has bytes.
func (c *Conn) received(fd int) {
	asked := c.learner.Asked()
	d := c.learner.Read(now)
	if asked != 0 {
		c.observer.Answered(c, c.waited(fd, now()-asked))
	}
	if d&quickack.Measure != 0 {
		var wait time.Duration
		if wait, d = c.learner.Measured(now(), measured(fd, d)); d&quickack.Stalled != 0 {
			c.stalls.Add(1)
			c.observer.Stalled(c, wait)
		}
	}
	c.report(d)
}

func measured(fd int, d quickack.Decision) (m quickack.Measurement) {
	if d&quickack.Timer != 0 {
		m.Timer = delayedAckMax(fd)
	}
	var info TCPInfo
	if info.read(fd) == nil {
		m.Idle, m.RTT, m.MinRTT = info.Duration(LastDataRecv), info.Duration(RTT), info.Duration(MinRTT)
	}
	return m
}

// acknowledge makes the kernel send the acknowledgement that it holds back, if any.
func (c *Conn) acknowledge(fd int) {
	value := Value{Number: ackOnce}
	if c.always.Load() {
		value.Number = ackAtOnce
		c.learner.Settle()
	}
	if err := QuickAck.set(fd, value); err != nil {
		c.always.Store(false)
		c.learner.TurnOff()
		c.observer.AcknowledgeFailed(c, err)
		return
	}
	c.acknowledged.Add(1)
	c.observer.Acknowledged()
	c.prompt = hasQueued(fd)
}

const (
	// smallSegment is the least full segment of IPv6 (RFC 8200, section 5), without options.
	smallSegment = 1208

	// shortPath is a round trip below which what was on its way already cannot be told from what an
	// acknowledgement has released.
	shortPath = 100 * time.Microsecond

	// handshake is what a TLS connection begins with (RFC 8446, section 5.1).
	handshake = 0x16

	// handshakeWrites is how many writes a TLS handshake takes: two in TLS 1.2.
	handshakeWrites = 2
)

// waited reports whether the peer has waited for the acknowledgement after which its bytes came. What Nagle's algorithm
// holds back is less than a segment. It comes about a round trip later, and over loopback before setsockopt(2) returns.
func (c *Conn) waited(fd int, wait time.Duration) bool {
	switch {
	case c.result >= smallSegment || int(c.result) == len(c.buf):
		return false
	case c.prompt:
		return true
	case c.minRTT == 0:
		var info TCPInfo
		if info.read(fd) == nil {
			c.minRTT = uint32(info.Duration(MinRTT).Microseconds()) //nolint:gosec // it has 32 bits in tcp_info
		}
	}
	rtt := time.Duration(c.minRTT) * time.Microsecond
	return rtt >= shortPath && wait >= rtt*3/4 && wait <= rtt*3/2+2*time.Millisecond
}

// HadResponse reports whether the peer has had a response, as far as its writes tell.
func (c *Conn) HadResponse() bool {
	writes := c.writes.Load()
	return writes > 0 && (c.first != handshake || writes > handshakeWrites)
}

// Values of TCP_QUICKACK, as tcp_sock_set_quickack in the kernel's net/ipv4/tcp.c reads them: any but 0 sends the
// acknowledgement that is due, and an odd one makes the kernel acknowledge without delay for a while, which is more
// segments.
const (
	ackAtOnce = 1
	ackOnce   = 2
)

// Learned is what a Conn knows of the acknowledgements of its connection.
type Learned struct {
	State        string `json:"state"` // eager, patient, on trial, off, or with AckOn on
	Acknowledged uint32 `json:"acknowledged"`
	Stalls       uint32 `json:"suspected_stalls"`
}

// Learned returns what c knows of its acknowledgements now.
func (c *Conn) Learned() Learned {
	l := Learned{c.learner.State(), c.acknowledged.Load(), c.stalls.Load()}
	if c.always.Load() {
		l.State = "on"
	}
	return l
}
