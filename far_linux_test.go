package sockopt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/needed"
)

// far is the far end of a cable: a network namespace with one end of a veth pair,
// whose other end is here. It goes away with the test.
type far struct {
	run     chan func()   // in the namespace
	near    string        // address of the end here
	addr    string        // address of the far end
	backend string        // address of a backend there, which never answers
	asked   chan struct{} // a request has reached it

	mu    sync.Mutex
	conns []net.Conn
}

const farLink = "far0"

// newFar lays a cable. It skips the test where that is not allowed.
func newFar(t testing.TB) *far {
	t.Helper()
	ip := needed.Program(t, "ip")
	if os.Geteuid() != 0 {
		needed.Missing(t, "only root makes network namespaces")
	}
	// Subnets of 198.18.0.0/15, for benchmarks (RFC 2544), and names of links: one
	// for each process that tests at the same time.
	subnet := os.Getpid() % (1 << 15)
	end := func(host int) string {
		n := subnet<<2 + host
		return fmt.Sprintf("198.%d.%d.%d", 18+n>>16, n>>8&0xff, n&0xff)
	}
	f := &far{run: make(chan func()), near: end(1), addr: end(2), asked: make(chan struct{}, 1)}
	type entered struct {
		thread int
		err    error
	}
	in := make(chan entered)
	go func() {
		runtime.LockOSThread() // the thread ends with this goroutine, the namespace with it
		err := syscall.Unshare(syscall.CLONE_NEWNET)
		in <- entered{syscall.Gettid(), err}
		for do := range f.run {
			do()
		}
	}()
	t.Cleanup(func() { close(f.run) })
	namespace := <-in
	if namespace.err != nil {
		needed.Missing(t, fmt.Sprintf("no network namespace: %v", namespace.err))
	}

	link := fmt.Sprintf("sockopt%d", subnet)
	here := func(args ...string) {
		t.Helper()
		output, err := exec.Command(ip, args...).CombinedOutput()
		require.NoError(t, err, "ip %v: %s", args, output)
	}
	here("link", "add", link, "type", "veth", "peer", "name", farLink, "netns", fmt.Sprint(namespace.thread))
	t.Cleanup(func() { here("link", "delete", link) })
	here("address", "add", f.near+"/30", "dev", link)
	here("link", "set", link, "up")
	require.NoError(t, f.ip("address", "add", f.addr+"/30", "dev", farLink))
	require.NoError(t, f.plug())
	f.serve(t)
	return f
}

// serve has a backend at the far end take requests that it never answers.
func (f *far) serve(t testing.TB) {
	t.Helper()
	var ln net.Listener
	var err error
	f.do(func() { ln, err = net.Listen("tcp", f.addr+":0") })
	require.NoError(t, err)
	f.backend = ln.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			f.hold(conn)
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				select {
				case f.asked <- struct{}{}:
				default: // a client that was cut has asked again
				}
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		f.hangUp()
		serving.Wait()
	})
}

// awaitRequest returns when a request has reached the backend, or was answered
// before it did.
func (f *far) awaitRequest(answered chan error) error {
	select {
	case <-f.asked:
		return nil
	case err := <-answered:
		answered <- err
		return err
	case <-time.After(patience):
		return fmt.Errorf("no request reached the backend in %v", patience)
	}
}

// hold keeps a connection of the far end until it hangs up.
func (f *far) hold(conn net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = append(f.conns, conn)
}

// hangUp resets the connections of the far end. Where it is unplugged nobody hears of
// it, now or later: a reset is sent once.
func (f *far) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.conns {
		_ = reset(conn.(*net.TCPConn))
	}
	f.conns = nil
}

// connections returns how many connections to the far end programs here hold.
func (f *far) connections() (open int, err error) {
	far := fmt.Sprintf("%08X", binary.NativeEndian.Uint32(net.ParseIP(f.addr).To4()))
	err = eachConnection(func(c connection) {
		if c.held && strings.HasSuffix(c.host, far) {
			open++
		}
	})
	return open, err
}

// connection is a line of the kernel's tables of TCP.
type connection struct {
	local, remote int    // ports
	host          string // the remote address, as the kernel writes it
	queued        int64  // bytes sent to it that it has not acknowledged
	held          bool   // by a program
}

// eachConnection has what the kernel knows of each connection on this side, over IPv4
// and IPv6.
func eachConnection(know func(connection)) error {
	for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		text, err := os.ReadFile(file) //nolint:gosec // one of the two
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			// sl local remote state queues timer retransmissions uid timeout inode
			fields := strings.Fields(line)
			if len(fields) < 10 || fields[0] == "sl" {
				continue
			}
			c := connection{held: fields[9] != "0"}
			_, port, _ := strings.Cut(fields[1], ":")
			c.local = int(hex(port))
			c.host, port, _ = strings.Cut(fields[2], ":")
			c.remote = int(hex(port))
			sent, _, _ := strings.Cut(fields[4], ":")
			c.queued = hex(sent)
			know(c)
		}
	}
	return nil
}

// hex reads a number that the kernel has written.
func hex(digits string) int64 {
	n, _ := strconv.ParseInt(digits, 16, 64) // it writes no other
	return n
}

// do runs something in the namespace and returns when it is done.
func (f *far) do(what func()) {
	done := make(chan struct{})
	f.run <- func() {
		defer close(done)
		what()
	}
	<-done
}

// ip runs the command ip at the far end. The child inherits the thread's namespace.
func (f *far) ip(args ...string) (err error) {
	f.do(func() {
		var output []byte
		if output, err = exec.Command("ip", args...).CombinedOutput(); err != nil {
			err = fmt.Errorf("ip %v: %w: %s", args, err, output)
		}
	})
	return err
}

// unplug has the far end vanish without a word: nothing arrives, nor leaves.
func (f *far) unplug() error { return f.ip("link", "set", farLink, "down") }

// plug puts the cable in, again.
func (f *far) plug() error { return f.ip("link", "set", farLink, "up") }

// dial connects from the far end to a port here.
func (f *far) dial(port string) (conn *net.TCPConn, err error) {
	f.do(func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", net.JoinHostPort(f.near, port), patience); err == nil {
			conn = c.(*net.TCPConn)
			f.hold(conn)
		}
	})
	return conn, err
}
