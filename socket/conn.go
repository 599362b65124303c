// Package socket sets, reads and times the kernel's socket options on Go's TCP connections. It knows nothing of Caddy.
//
// The files:
//
//	option.go     Option, Setting: the kernel's names, set and get through one control helper
//	numbers_*.go  the numbers of the options that a system has
//	conn.go       Conn, which acknowledges in time; copy.go is its ReadFrom and WriteTo
//	ack.go        how Conn drives quickack/, which learns about its peer
//	unwrap.go     from a wrapped connection or listener to the kernel's socket
//	override.go   options for a while, restored afterwards
//	kernel_*.go   release, sysctls, capabilities
//	tcpinfo_*.go  TCP_INFO
//	other.go      systems other than Linux: what sets options there, and what they lack
//	trial/        tries options before they meet a real connection
package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket/quickack"
)

// Conn is a *net.TCPConn that acknowledges what it received before the peer has to wait for it, or only counts how
// often the peer waits. It does all that a *net.TCPConn does, with the same errors. Reads and writes allocate
// nothing. It exists on Linux only: other systems have no TCP_QUICKACK.
//
// A write counts as carrying the acknowledgement of what was read before. Where that is not so, AckAuto errs:
//
//   - What leaves with net.Buffers, or with splice(2) in ReadFrom, does not count as a
//     write. The next read that parks asks for an acknowledgement that is already
//     sent: a system call, and the kernel acknowledges the peer's next message by
//     itself. AckAuto does not learn from that.
//   - What is written under TCP_CORK may not leave, and a peer that waits then waits 40 ms:
//     see SetHeldBack.
//   - What is written while the peer's window is full does not leave. The peer waits once:
//     the kernel then acknowledges as soon as everything is read.
type Conn struct {
	*net.TCPConn
	raw      syscall.RawConn
	observer Observer
	learner  quickack.Learner

	// One read at a time holds reading; it guards byByte, the arguments and results of a step, and the learner.
	reading     sync.Mutex
	buf         []byte
	result      int32         // bytes, or a negative errno, as of a system call
	connectTime atomic.Uint32 // in microseconds, or 0 where it is not known

	// step is readStep as a value: made for each call it would be an allocation.
	step func(fd uintptr) bool

	closing sync.Once
	minRTT  uint32                      // in microseconds, or 0 before it is known
	settler atomic.Pointer[func(error)] // Settler's

	links                // in the List of its origin
	acknowledged, stalls atomic.Uint32

	writes atomic.Uint32 // up to handshakeWrites + 1

	// sending says that ReadFrom sends what it does not see.
	sending atomic.Bool

	always atomic.Bool // AckOn, until the kernel refuses TCP_QUICKACK on this socket
	keep   bool        // KeepDelayedAckMax

	// byByte says that a read into a buffer of one byte is one: the last read left one
	// byte to fill, or was of one byte itself.
	byByte bool

	first  byte // of all that was read
	prompt bool // the peer's bytes were there when the acknowledgement had been asked for
}

// NewConn returns c with acknowledgements as the options say. With AckOff it only
// reports stalls to observer. The caller goes on with the returned Conn alone.
//
// Errors: those of c.SyscallConn, or errors.ErrUnsupported where there is no TCP_QUICKACK.
func NewConn(c *net.TCPConn, options AckOptions, observer Observer) (*Conn, error) {
	if !QuickAck.Supported() {
		return nil, errors.ErrUnsupported
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	conn := &Conn{
		TCPConn: c, raw: raw, observer: observer, keep: options.KeepDelayedAckMax,
	}
	conn.always.Store(options.Mode == AckOn)
	conn.learner.Start(options.Mode == AckAuto)
	conn.step = conn.readStep
	return conn, nil
}

// SetConnectTime says how long the connection took from its SYN until it was open, which nobody else can tell.
func (c *Conn) SetConnectTime(d time.Duration) {
	c.connectTime.Store(uint32(d.Microseconds())) //nolint:gosec // a dial ends within an hour
}

// NetConn returns the *net.TCPConn. What is read from it directly is not acknowledged by c.
func (c *Conn) NetConn() net.Conn { return c.TCPConn }

// SyscallConn returns the raw connection that c has, and so allocates nothing. What is
// read with it is not acknowledged by c.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// Read reads like (*net.TCPConn).Read and acknowledges as the mode says.
//
// A read into a buffer of one byte does not make AckAuto acknowledge, unless the read before it left one byte to fill
// or was of one byte itself: it is net/http watching whether the client leaves while a handler runs, and the
// handler's reply will carry the acknowledgement.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return c.TCPConn.Read(p)
	}
	n, err := c.wait("read", "read", p)
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write writes like (*net.TCPConn).Write. What it sends carries the
// acknowledgement of all that was received before, unless it is held back.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) > 0 { // otherwise nothing is sent
		c.sends()
	}
	return c.TCPConn.Write(p)
}

// Close closes the connection like (*net.TCPConn).Close, once the observer has seen
// it, even if another goroutine closes it at the same time.
func (c *Conn) Close() error {
	c.closing.Do(func() { c.observer.Closing(c) })
	return c.TCPConn.Close()
}

// wait reads or, without a buffer, counts the bytes that wait and leaves them, and parks
// before there are any. Its errors name the operation and the system call.
func (c *Conn) wait(op, call string, buf []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.buf = buf
	c.learner.Deadline() // where one ended the read before
	err := c.raw.Read(c.step)
	if err == nil && c.result < 0 {
		err = c.opError(op, os.NewSyscallError(call, syscall.Errno(-c.result)))
	} else if raw, ok := err.(*net.OpError); ok { //nolint:errorlint // it is not wrapped here
		// Closed or out of time. The error was made for this call alone, so it can be
		// changed into the one that *net.TCPConn returns. A new one would be an
		// allocation in every request: net/http ends a read with a deadline in each.
		raw.Op, raw.Source, raw.Addr = op, c.LocalAddr(), c.RemoteAddr()
	}
	n := int(max(c.result, 0))
	c.buf, c.result = nil, 0
	return n, err
}

func (c *Conn) readStep(fd uintptr) (done bool) {
	n, errno := readOrPeek(int(fd), c.buf)
	switch {
	case errno == syscall.EINTR:
		return c.readStep(fd)
	case errno == syscall.EAGAIN:
		c.park(int(fd))
		return false
	case errno != 0:
		c.result = -int32(errno) //nolint:gosec // a few hundred
		return true
	}
	c.result = int32(n) //nolint:gosec // the kernel reads less than 2 GiB at once (read(2))
	if n > 0 && len(c.buf) > 0 {
		c.byByte = len(c.buf) == 1 || len(c.buf)-n == 1
		if c.first == 0 {
			c.first = c.buf[0]
		}
	}
	if n > 0 {
		c.received(int(fd))
		if c.always.Load() && len(c.buf) > 0 {
			c.acknowledge(int(fd))
		}
	}
	return true
}

// opError is err as the *net.TCPConn returns it.
func (c *Conn) opError(op string, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: c.RemoteAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
