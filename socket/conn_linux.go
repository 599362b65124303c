package socket

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is a *net.TCPConn that acknowledges what it received before the peer has
// to wait for it, or sees the peer wait where it is not to acknowledge. All that a *net.TCPConn does, it does, with the same errors;
// reads and writes allocate nothing.
//
// What leaves with net.Buffers, or with ReadFrom from a reader that may wait, does
// not count as a write. The next read that parks then asks for an acknowledgement
// that is already sent: a system call, and the peer's next message is acknowledged
// by itself.
type Conn struct {
	*net.TCPConn
	raw      syscall.RawConn
	observer Observer
	always   bool // AckOn
	never    bool // AckOff
	refused  bool // the kernel refuses TCP_QUICKACK on this socket

	// owed says that bytes were read since the last write, so that the kernel
	// may be holding their acknowledgement back for a reply to carry.
	owed atomic.Bool

	// parked is when a read parked of which a stall may come: bytes are owed an
	// acknowledgement that nobody asks for.
	parked time.Time

	// sending says that ReadFrom sends what it does not see.
	sending atomic.Bool

	closing sync.Once

	// unfilled is how many bytes of its buffer the last read left empty.
	unfilled int

	// One read at a time holds reading; it guards refused, parked, unfilled, and
	// the arguments and results of a step.
	reading sync.Mutex
	buf     []byte
	n       int
	err     error

	// step is readStep as a value: made for each call it would be an allocation.
	step func(fd uintptr) bool
}

// NewConn returns c with acknowledgements as mode says. With AckOff it only tells
// observer of stalls. The caller goes on with the returned Conn alone.
//
// Errors: those of c.SyscallConn.
func NewConn(c *net.TCPConn, mode AckMode, observer Observer) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	conn := &Conn{TCPConn: c, raw: raw, observer: observer, always: mode == AckOn, never: mode == AckOff}
	conn.step = conn.readStep
	return conn, nil
}

// NetConn returns the *net.TCPConn. What is read from it directly is not
// acknowledged by c.
func (c *Conn) NetConn() net.Conn { return c.TCPConn }

// SyscallConn returns the raw connection that c has, and so allocates nothing. What is
// read with it is not acknowledged by c.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// Read reads like (*net.TCPConn).Read and acknowledges as the mode says.
//
// A read into a buffer of one byte never makes AckAuto acknowledge: it is
// net/http watching whether the client leaves while a handler runs, and the
// handler's reply will carry the acknowledgement. Who waits for the last byte of
// a message in a buffer of that size has no help from c.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return c.TCPConn.Read(p)
	}
	n, err := c.wait("read", c.step, p)
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write writes like (*net.TCPConn).Write. What it sends carries the
// acknowledgement of all that was received before.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) > 0 { // otherwise nothing is sent
		c.owed.Store(false)
	}
	return c.TCPConn.Write(p)
}

// Settle tells that nobody waits for the acknowledgement of what was read so far,
// because it is a whole message: what is written next will carry it. The caller
// is the goroutine that reads, before it reads on.
func (c *Conn) Settle() { c.owed.Store(false) }

// ReadFrom sends what r holds, with sendfile(2) or splice(2) where
// (*net.TCPConn).ReadFrom does so.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if isFile(r) { // it is at hand; what another reader holds may come much later
		c.owed.Store(false)
	} else {
		c.sending.Store(true)
		defer c.sending.Store(false)
	}
	return c.TCPConn.ReadFrom(r)
}

// Close closes the connection like (*net.TCPConn).Close, once the observer has seen
// it, whoever else closes it at the same time.
func (c *Conn) Close() error {
	c.closing.Do(func() { c.observer.Closing(c) })
	return c.TCPConn.Close()
}

// isFile reports whether r is a file, or a piece of one as http.ServeContent sends it.
func isFile(r io.Reader) bool {
	for {
		switch from := r.(type) {
		case *os.File:
			return true
		case *io.LimitedReader:
			r = from.R
		default:
			return false
		}
	}
}

// WriteTo moves to w what c receives, until the peer closes its side. Towards
// another TCP connection the bytes move with splice(2). Towards a Unix socket,
// which *net.TCPConn would splice to as well, they are copied.
func (c *Conn) WriteTo(w io.Writer) (written int64, err error) {
	switch dst := w.(type) {
	case *Conn:
		return c.spliceTo(dst)
	case *net.TCPConn:
		return c.spliceTo(&Conn{TCPConn: dst})
	}
	written, err = io.Copy(w, struct{ io.Reader }{c})
	return written, c.opError(writeTo, err)
}

// writeTo is the operation that the errors of WriteTo name.
const writeTo = "writeto"

// spliceTo waits with a peek, so that the read that parks is seen, and then has
// the kernel move what is there.
func (c *Conn) spliceTo(dst *Conn) (written int64, err error) {
	peek := c.peekStep
	waiting := io.LimitedReader{R: c.TCPConn}
	for {
		n, err := c.wait(writeTo, peek, nil)
		if n == 0 || err != nil {
			return written, err
		}
		// In this order, since dst may be c, as in an echo server.
		c.owed.Store(true)
		dst.owed.Store(false)
		waiting.N = int64(n)
		moved, err := dst.TCPConn.ReadFrom(&waiting)
		written += moved
		if err != nil {
			return written, c.opError(writeTo, err)
		}
	}
}

// wait runs step on the descriptor until it is done, and parks in between. Its errors
// name the operation.
func (c *Conn) wait(op string, step func(fd uintptr) bool, buf []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.buf, c.parked = buf, time.Time{}
	err := c.raw.Read(step)
	if err == nil {
		err = c.opError(op, c.err)
	} else if raw, ok := err.(*net.OpError); ok { //nolint:errorlint // a wrapped one is nobody's here
		// Closed or out of time. It was made for this call alone, and is made into what
		// the *net.TCPConn returns: net/http ends a read so in every request, and
		// another error would be an allocation.
		raw.Op, raw.Source, raw.Addr = op, c.LocalAddr(), c.RemoteAddr()
	}
	n := c.n
	c.buf, c.n, c.err = nil, 0, nil
	return n, err
}

func (c *Conn) readStep(fd uintptr) (done bool) {
	for {
		n, err := unix.Read(int(fd), c.buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			c.park(int(fd))
			return false
		case err != nil:
			c.err = os.NewSyscallError("read", err)
			return true
		}
		c.n = n
		c.unfilled = len(c.buf) - n
		if n > 0 {
			c.resume(int(fd))
			c.owed.Store(true)
			if c.always {
				c.acknowledge(int(fd))
			}
		}
		return true
	}
}

// peekStep counts the bytes that wait and leaves them: with MSG_TRUNC the kernel
// copies nothing (tcp(7)), with MSG_PEEK it keeps them.
func (c *Conn) peekStep(fd uintptr) (done bool) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, fd, 0, peekMax, unix.MSG_PEEK|unix.MSG_TRUNC, 0, 0)
		switch errno {
		case 0:
			c.n = int(n)
			if n > 0 {
				c.resume(int(fd))
			}
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			c.park(int(fd))
			return false
		default:
			c.err = os.NewSyscallError("recvfrom", errno)
			return true
		}
	}
}

// peekMax bounds what one splice moves, in bytes: the largest pipe that a
// process may have without privileges (pipe(7)).
const peekMax = 1 << 20

// park acknowledges before the goroutine parks. A one-byte buffer is net/http's
// watch over a client whose request is being answered, unless it is what the last
// read left to fill, as io.ReadFull does.
func (c *Conn) park(fd int) {
	if len(c.buf) == 1 && c.unfilled != 1 && !c.always {
		return
	}
	switch {
	case !c.owed.Load():
	case !c.never && !c.refused:
		c.acknowledge(fd)
	case !c.sending.Load():
		c.parked = time.Now()
	}
}

// resume tells of a stall where the read that parked has waited like one. What a
// path's round trip takes is no timer's wait; of its estimates tcpi_min_rtt is the
// one in which the peer's own delayed acknowledgements are not.
func (c *Conn) resume(fd int) {
	if c.parked.IsZero() {
		return
	}
	wait := time.Since(c.parked)
	c.parked = time.Time{}
	if wait < stallLeast || !c.owed.Load() { // a reply was written meanwhile
		return
	}
	var info TCPInfo
	if err := info.read(fd); err == nil {
		if rtt, known := info.Value(MinRTT); known {
			wait -= time.Duration(rtt) * time.Microsecond
		}
	}
	if wait >= stallLeast && wait <= stallMost {
		c.observer.Stalled(c, wait)
	}
}

// A delayed acknowledgement comes after 40 to 200 ms (TCP_DELACK_MIN and
// TCP_DELACK_MAX in the kernel's include/net/tcp.h), on other systems after up to
// 200, and the scheduler adds to it.
const (
	stallLeast = 30 * time.Millisecond
	stallMost  = 300 * time.Millisecond
)

// acknowledge has the kernel send the acknowledgement that it holds back, if any.
func (c *Conn) acknowledge(fd int) {
	if c.refused {
		return
	}
	c.owed.Store(false)
	value := Value{Number: ackOnce}
	if c.always {
		value.Number = ackAtOnce
	}
	if err := QuickAck.set(fd, value); err != nil {
		c.refused = true
		c.observer.AcknowledgeFailed(c, err)
		return
	}
	c.observer.Acknowledged()
}

// Values of TCP_QUICKACK, as tcp_sock_set_quickack in the kernel's net/ipv4/tcp.c
// reads them: any value but 0 sends the acknowledgement that is due, and an odd
// one has the kernel go on without delay for a while, which is more segments.
const (
	ackAtOnce = 1
	ackOnce   = 2
)

// opError is err as the *net.TCPConn returns it.
func (c *Conn) opError(op string, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: c.RemoteAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
