//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// protocol is what the client speaks.
type protocol struct {
	name    string
	work    work // of the servers that speak it
	streams int  // HTTP/2, with so many requests at once on a connection
}

var (
	http1     = protocol{"HTTP/1.1", plain, 0}
	http1TLS  = protocol{"HTTP/1.1 over TLS", secure, 0}
	http2TLS  = protocol{"HTTP/2 over TLS", secure, 1}
	http2Four = protocol{"HTTP/2 over TLS, 4 streams", secure, 4}
)

// bursts are requests on each of some connections, all at once, and again when all are
// answered: a millisecond or two of work for the server. Systems that take turns burst by
// burst have the same pace of the machine, which a shared one changes all the time.
type bursts struct {
	protocol
	connections int
	closing     bool // each burst opens its own connections, and the server closes them
	nagle       bool // Nagle's algorithm is on
	inPieces    bool // each request is three writes
	inARow      int  // bursts of a turn, 0 is 1: after a pause Linux does not delay acknowledgements
}

// Of the comparisons with many connections.
const (
	burstSize  = 32
	burstTurns = 24 // bursts of each system that make a round

	// warmUp is how many requests a connection has had before any is timed: Linux
	// acknowledges the first 16 segments of a connection at once.
	warmUp = 20
)

const (
	rateMeasure = "a second"         // requests or connections
	costMeasure = "CPU microseconds" // of the server's, for each
)

// compare lets contenders take turns burst by burst, and adds for each round what its
// bursts come to.
func (b *bench) compare(ctx context.Context, row int, kase string, count, turns int, contenders []contender, g bursts) error {
	clients := make(map[contender]*client)
	for _, c := range contenders {
		clients[c] = b.newClient(c, g)
		defer clients[c].close()
		for range warmUp {
			if err := clients[c].burst(); err != nil {
				return fmt.Errorf("%s: %w", c.system, err)
			}
		}
	}
	type load struct{ requests, seconds, cpu float64 }
	all := func() error {
		for range count {
			loads := make(map[contender]load)
			err := rounds(ctx, turns, contenders, func(c contender) error {
				l, before, begin := loads[c], cpuSeconds(c.pid), time.Now()
				var err error
				for range max(1, g.inARow) {
					err = errors.Join(err, clients[c].burst())
				}
				l.seconds += time.Since(begin).Seconds()
				l.cpu += cpuSeconds(c.pid) - before
				l.requests += float64(g.connections * max(1, g.streams) * max(1, g.inARow))
				loads[c] = l
				return err
			})
			if err != nil {
				return err
			}
			for _, c := range contenders {
				l := loads[c]
				b.add(row, kase, c.system, rateMeasure, l.requests/l.seconds)
				if c.pid != 0 {
					b.add(row, kase, c.system, costMeasure, 1e6*l.cpu/l.requests)
				}
			}
		}
		return nil
	}
	// Whether the scheduler has a client of many connections beside the server or on
	// another core is most of what two runs differ by. Over a single connection client
	// and server take turns, and where they do so is up to the scheduler.
	if g.connections > 1 {
		return onCore(false, all)
	}
	return all()
}

// cpuSeconds returns the CPU time that a process has used: clock_getcpuclockid(3), and
// MAKE_PROCESS_CPUCLOCK with CPUCLOCK_SCHED in the kernel's
// include/linux/posix-timers_types.h.
func cpuSeconds(pid int) float64 {
	var spent unix.Timespec
	if pid == 0 || unix.ClockGettime(int32(^pid<<3|2), &spent) != nil { //nolint:gosec // a pid fits
		return 0
	}
	return time.Duration(spent.Nano()).Seconds()
}

// onCore runs f on the first or the last of the cores that this process may use, and so
// what f starts. The thread may not end there: with it those processes would that it has
// started.
func onCore(last bool, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var had, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &had); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	for core := range 64 * len(had) {
		if had.IsSet(core) && (last || set.Count() == 0) {
			set.Zero()
			set.Set(core)
		}
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	return errors.Join(f(), os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &had)))
}

// client asks a server in bursts. It waits in system calls, so that no scheduler but the
// kernel's has a part in it.
type client struct {
	bursts
	port  int
	tls   *tls.Config
	conns []*conn
}

// conn is a connection of a client, and its side of the protocol. It is a file that waits
// in the kernel, since os does not know that it could be polled.
type conn struct {
	*os.File
	lab.Exchange
}

// LocalAddr implements net.Conn.
func (*conn) LocalAddr() net.Addr { return nil }

// RemoteAddr implements net.Conn.
func (*conn) RemoteAddr() net.Addr { return nil }

func (b *bench) newClient(c contender, g bursts) *client {
	cl := &client{bursts: g, port: c.port}
	if g.work == secure {
		cl.tls = &tls.Config{RootCAs: b.certificate.Roots, ServerName: lab.Loopback, MinVersion: tls.VersionTLS12}
		if g.streams > 0 {
			cl.tls.NextProtos = []string{"h2"}
		}
	}
	return cl
}

// burst sends requests on all connections, and reads the responses.
func (cl *client) burst() error {
	for i := range cl.connections {
		if len(cl.conns) == i {
			if err := cl.open(); err != nil {
				return err
			}
		}
		for range max(1, cl.streams) {
			send := cl.conns[i].Send
			if cl.inPieces {
				send = cl.conns[i].SendInPieces
			}
			if err := send(); err != nil {
				return err
			}
		}
	}
	for _, c := range cl.conns {
		for range max(1, cl.streams) {
			if _, err := c.Receive(); err != nil {
				return err
			}
		}
	}
	if cl.closing {
		cl.close()
	}
	return nil
}

// open opens one more connection.
func (cl *client) open() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	c := &conn{File: os.NewFile(uintptr(fd), "")} //nolint:gosec // a descriptor fits
	cl.conns = append(cl.conns, c)
	noDelay, timeout := 1, unix.NsecToTimeval(lab.Patience.Nanoseconds())
	if cl.nagle {
		noDelay = 0
	}
	err = errors.Join(
		os.NewSyscallError("connect", unix.Connect(fd, &unix.SockaddrInet4{Port: cl.port, Addr: [4]byte{127, 0, 0, 1}})),
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, noDelay)),
		os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)), // then read is EAGAIN
	)
	if err != nil {
		return err
	}
	var stream net.Conn = c
	if cl.tls != nil {
		stream = tls.Client(stream, cl.tls)
	}
	if cl.streams == 0 {
		c.Exchange = cl.newHTTP1(stream)
		return nil
	}
	c.Exchange, err = lab.NewHTTP2(stream, lab.Loopback)
	return err
}

// segments returns how many segments the client's connections have sent and received.
func (cl *client) segments() (sum float64, err error) {
	for _, c := range cl.conns {
		info, err := unix.GetsockoptTCPInfo(int(c.Fd()), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return 0, os.NewSyscallError("getsockopt", err)
		}
		sum += float64(info.Segs_out) + float64(info.Segs_in)
	}
	return sum, nil
}

func (cl *client) close() {
	for _, c := range cl.conns {
		_ = c.Close()
	}
	cl.conns = cl.conns[:0]
}

// http1Exchange is HTTP/1.1 whose requests in pieces are GET requests, since the other
// servers have files.
type http1Exchange struct {
	*lab.HTTP1
	stream  io.ReadWriter
	closing bool
	pieces  []string // of the request
}

func (cl *client) newHTTP1(stream net.Conn) *http1Exchange {
	header := "Host: " + lab.Loopback + "\r\n"
	if cl.closing {
		header += "Connection: close\r\n"
	}
	return &http1Exchange{lab.NewHTTP1(stream, lab.Loopback), stream, cl.closing, []string{"GET / HTTP/1.1\r\n", header, "\r\n"}}
}

// Send implements lab.Exchange.
func (h *http1Exchange) Send() error {
	_, err := io.WriteString(h.stream, strings.Join(h.pieces, ""))
	return err
}

// SendInPieces implements lab.Exchange.
func (h *http1Exchange) SendInPieces() error {
	for _, piece := range h.pieces {
		if _, err := io.WriteString(h.stream, piece); err != nil {
			return err
		}
	}
	return nil
}

// Receive implements lab.Exchange. It waits until the server has closed a connection that
// it closes.
func (h *http1Exchange) Receive() ([]byte, error) {
	body, err := h.HTTP1.Receive()
	if err == nil && h.closing {
		_, err = io.Copy(io.Discard, h.stream)
	}
	return body, err
}
