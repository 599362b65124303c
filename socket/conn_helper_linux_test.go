package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// acks is an Observer that counts.
type acks struct {
	acknowledged atomic.Int64
	failed       atomic.Int64
	wasted       atomic.Int64
	patient      atomic.Int64
	waited       atomic.Int64
	stalled      atomic.Int64
	stalledLong  atomic.Int64 // for the kernel's own timer
	closed       atomic.Int64
	err          atomic.Pointer[error] // of the last failure
}

func (a *acks) Acknowledged() { a.acknowledged.Add(1) }

func (a *acks) Wasted(*Conn) { a.wasted.Add(1) }

func (a *acks) BecamePatient(*Conn) { a.patient.Add(1) }

func (a *acks) Answered(_ *Conn, waited bool) {
	if waited {
		a.waited.Add(1)
	}
}

func (a *acks) Stalled(_ *Conn, wait time.Duration) {
	a.stalled.Add(1)
	if wait >= 30*time.Millisecond {
		a.stalledLong.Add(1)
	}
}

func (a *acks) Closing(*Conn) { a.closed.Add(1) }

func (a *acks) AcknowledgeFailed(_ *Conn, err error) {
	a.failed.Add(1)
	a.err.Store(&err)
}

// wrap returns c as a Conn, and what it acknowledges.
func wrap(t testing.TB, c *net.TCPConn, mode AckMode) (*Conn, *acks) {
	t.Helper()
	observer := new(acks)
	conn, err := NewConn(c, AckOptions{Mode: mode}, observer)
	require.NoError(t, err)
	return conn, observer
}

// tcp is what a Conn and a *net.TCPConn have in common.
type tcp interface {
	net.Conn
	io.WriterTo
	CloseRead() error
	CloseWrite() error
}

// variants are the modes, and the *net.TCPConn that they are compared with.
var variants = []struct {
	name string
	wrap func(testing.TB, *net.TCPConn) tcp
}{
	{"TCPConn", func(_ testing.TB, c *net.TCPConn) tcp { return c }},
	{"auto", func(t testing.TB, c *net.TCPConn) tcp { conn, _ := wrap(t, c, AckAuto); return conn }},
	{"on", func(t testing.TB, c *net.TCPConn) tcp { conn, _ := wrap(t, c, AckOn); return conn }},
}

// result is what a read or a write returns.
type result struct {
	n   int64
	err error
}

// inBackground calls f in a goroutine that awaitParked knows by this name.
func inBackground(f func() result) <-chan result {
	done := make(chan result, 1)
	go func() { done <- f() }()
	return done
}

func read(c net.Conn, size int) func() result {
	return func() result {
		n, err := c.Read(make([]byte, size))
		return result{int64(n), err}
	}
}

// stacks has room for those of a thousand goroutines.
var stacks = make([]byte, 4<<20)

// awaitParked returns when n goroutines of inBackground are parked. The scheduler
// says so itself, so that nothing depends on time.
func awaitParked(t testing.TB, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		parked := 0
		for stack := range bytes.SplitSeq(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
			if bytes.Contains(stack, []byte("[IO wait")) && bytes.Contains(stack, []byte("socket.inBackground")) {
				parked++
			}
		}
		if parked == n {
			return
		}
		require.True(t, time.Now().Before(deadline), "%d goroutines parked, not %d", parked, n)
	}
}

// reset has peer answer with RST from now on.
func reset(t testing.TB, peer *net.TCPConn) {
	t.Helper()
	require.NoError(t, peer.SetLinger(0))
	require.NoError(t, peer.Close())
}

func send(t testing.TB, c net.Conn, s string) {
	t.Helper()
	_, err := io.WriteString(c, s)
	require.NoError(t, err)
}

// descriptors counts the open descriptors of this process.
func descriptors(t testing.TB) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(open)
}

// wired is a Conn under test, its peer, and what the Conn acknowledged.
type wired struct {
	*Conn
	*acks
	peer *net.TCPConn
}

// A step is one thing that happens on a connection.
type step func(t *testing.T, w wired)

// receive has the peer send n bytes, which one read then finds.
func receive(n int) step { return receiveInto(4096, n) }

// receiveInto is receive with a buffer of size bytes.
func receiveInto(size, n int) step {
	return func(t *testing.T, w wired) {
		send(t, w.peer, strings.Repeat("*", n))
		awaitBytes(t, w, n)
		require.Equal(t, result{int64(n), nil}, read(w, size)())
	}
}

// awaitBytes returns when n bytes wait in the kernel to be read from c.
func awaitBytes(t testing.TB, c syscall.Conn, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		var waiting int
		onDescriptor(t, c, func(fd int) { waiting, _ = unix.IoctlGetInt(fd, unix.TIOCINQ) })
		if waiting == n {
			return
		}
		require.True(t, time.Now().Before(deadline), "%d bytes wait, not %d", waiting, n)
	}
}

// mptcpPair returns both ends of a connection that speaks MPTCP.
func mptcpPair(t testing.TB) (accepted, peer *net.TCPConn) {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(true)
	ln, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	accepted, peer = connect(t, ln, dialer)
	if multipath, err := accepted.MultipathTCP(); err != nil || !multipath {
		lab.MissingMPTCP(t)
	}
	return accepted, peer
}

// reply reads requests of size bytes from c, in pieces of more than one byte, and
// answers each with one byte.
func reply(c net.Conn, size int) error {
	request := make([]byte, size)
	for {
		for missing := size; missing > 0; {
			n, err := c.Read(request[:missing])
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			missing -= n
		}
		if _, err := c.Write(request[:1]); err != nil {
			return err
		}
	}
}

// tunnel moves bytes both ways between c and another connection, whose far end
// it returns.
func tunnel(t testing.TB, c tcp) *net.TCPConn {
	t.Helper()
	backend, dialed := pair(t)
	forward := func(dst, src tcp) func() result {
		return func() result {
			n, err := io.Copy(dst, src)
			return result{n, errors.Join(err, dst.CloseWrite())}
		}
	}
	there, back := inBackground(forward(dialed, c)), inBackground(forward(c, dialed))
	t.Cleanup(func() {
		require.NoError(t, (<-there).err)
		require.NoError(t, (<-back).err)
	})
	return backend
}
