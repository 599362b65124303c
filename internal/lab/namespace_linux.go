package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace at the far end of a pair of links (veth(4)), whose
// near end is in the namespace of this process. The MTU is Ethernet's. It exists as long
// as its thread. A process has sixteen at a time.
type Namespace struct {
	Near, Far string // addresses of the two ends

	link string // of the near end
	run  chan func()
}

const farLink = "far0"

// made counts the namespaces of this process.
var made atomic.Int32

// NewNamespace makes a namespace. Only root may.
func NewNamespace() (*Namespace, error) {
	return newNamespace(func(n *Namespace, thread int) error {
		return ip("link", "add", n.link, "mtu", "1500", "type", "veth",
			"peer", "name", farLink, "mtu", "1500", "netns", fmt.Sprint(thread))
	})
}

// newNamespace makes a namespace with links that are made by connect, which is told the
// namespace's thread.
func newNamespace(connect func(n *Namespace, thread int) error) (*Namespace, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root makes network namespaces")
	}
	// Subnets of 198.18.0.0/15, for benchmarks (RFC 2544): sixteen for each process that
	// tests or measures at the same time.
	subnet := (os.Getpid()<<4 + int(made.Add(1))%16) % (1 << 15)
	end := func(host int) string {
		n := subnet<<2 + host
		return fmt.Sprintf("198.%d.%d.%d", 18+n>>16, n>>8&0xff, n&0xff)
	}
	n := &Namespace{Near: end(1), Far: end(2), link: fmt.Sprintf("sockopt%d", subnet), run: make(chan func())}
	type entered struct {
		thread int
		err    error
	}
	in := make(chan entered)
	onThread(func() {
		err := unix.Unshare(unix.CLONE_NEWNET)
		in <- entered{unix.Gettid(), err}
		for do := range n.run {
			do()
		}
	})
	thread := <-in
	if thread.err != nil {
		close(n.run)
		return nil, fmt.Errorf("no network namespace: %w", thread.err)
	}
	for _, step := range []func() error{
		func() error { return connect(n, thread.thread) },
		func() error { return ip("address", "add", n.Near+"/30", "dev", n.link) },
		func() error { return ip("link", "set", n.link, "up") },
		func() error { return n.ip("address", "add", n.Far+"/30", "dev", farLink) },
		func() error { return n.ip("link", "set", "lo", "up") },
		n.Plug,
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// onThread runs f on a thread of its own, which ends with f, and its namespace with it.
// It is never the first thread of the process, which Go does not end, and whose network
// is that of /proc/PID; nor one that has started processes, which the kernel kills when
// their thread ends (endWithParent).
func onThread(f func()) {
	started := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() || hasProcesses() {
			onThread(f) // this goroutine keeps its thread meanwhile
			runtime.UnlockOSThread()
			close(started)
			return
		}
		close(started)
		f()
	}()
	<-started
}

// hasProcesses reports whether this thread has started processes that still run.
func hasProcesses() bool {
	children, err := os.ReadFile("/proc/thread-self/children")
	return err == nil && len(children) > 0
}

// NewTestNamespace makes a namespace that goes away with the test, or is Missing.
func NewTestNamespace(t testing.TB) *Namespace {
	t.Helper()
	OtherProcess(t)
	Require(t, "ip")
	n, err := NewNamespace()
	if err != nil {
		Missing(t, err.Error())
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// Close removes the links and the namespace. What Start started there is killed.
func (n *Namespace) Close() error {
	err := ip("link", "delete", n.link)
	close(n.run)
	return err
}

// Do runs something in the namespace and returns when it is done.
func (n *Namespace) Do(what func()) {
	done := make(chan struct{})
	n.run <- func() {
		defer close(done)
		what()
	}
	<-done
}

// Start starts a process in the namespace.
func (n *Namespace) Start(cmd *exec.Cmd) (p *Process, err error) {
	n.Do(func() { p, err = Start(cmd) })
	return p, err
}

// Dial connects from the namespace to an address of the near end.
func (n *Namespace) Dial(addr string) (conn *net.TCPConn, err error) {
	n.Do(func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", addr, Patience); err == nil {
			conn = c.(*net.TCPConn)
		}
	})
	return conn, err
}

// Listen listens on a port of the far end that the kernel picks.
func (n *Namespace) Listen() (ln net.Listener, err error) {
	n.Do(func() { ln, err = net.Listen("tcp", net.JoinHostPort(n.Far, "0")) })
	return ln, err
}

// Segments returns how many TCP segments the namespace has received and sent.
func (n *Namespace) Segments() (received, sent float64, err error) {
	n.Do(func() {
		// A namespace belongs to a thread here, and /proc/self is the first thread.
		var thread procfs.Proc
		if thread, err = procfs.FS.Thread(procDir, os.Getpid(), unix.Gettid()); err != nil {
			return
		}
		var snmp procfs.ProcSnmp
		if snmp, err = thread.Snmp(); err == nil {
			received, sent = *snmp.Tcp.InSegs, *snmp.Tcp.OutSegs
		}
	})
	return received, sent, err
}

var procDir = func() procfs.FS {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		panic(err) // a Linux without /proc runs none of this
	}
	return fs
}()

// Unplug makes the far end vanish without a word: nothing arrives, nor leaves.
func (n *Namespace) Unplug() error { return n.ip("link", "set", farLink, "down") }

// Plug connects the far end, again.
func (n *Namespace) Plug() error { return n.ip("link", "set", farLink, "up") }

// ip runs the command ip in the namespace.
func (n *Namespace) ip(args ...string) (err error) {
	n.Do(func() { err = ip(args...) })
	return err
}

// ip runs the command ip in the namespace of the calling thread.
func ip(args ...string) error {
	path, err := Find("ip")
	if err != nil {
		return err
	}
	output, err := exec.CommandContext(context.Background(), path, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, output)
	}
	return nil
}
