//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bursts are requests on each of some connections, one at a time, all at once, and again
// when all are answered: a millisecond or two of work for the server. Systems that take
// turns burst by burst have the same pace of the machine, which a shared one changes
// from one tenth of a second to the next, and what a load generator takes to start is
// no part of it.
type bursts struct {
	connections int
	path        string
	stay        bool // the same connections for all; otherwise each burst opens its own, and the server closes them
	turns       int  // bursts of each system that make a round
}

// Of the comparisons with many connections.
const (
	burstSize  = 2 * atOnce
	burstTurns = 24
)

// compare has contenders take turns, and adds for each round what its bursts come to.
// The contenders have one process, which has no children.
func (b *bench) compare(ctx context.Context, row int, kase string, count int, contenders []contender, g bursts) error {
	clients := make(map[contender]*burster)
	defer func() {
		for _, cl := range clients {
			cl.close()
		}
	}()
	for _, c := range contenders {
		cl, err := g.newBurster(c)
		if err != nil {
			return err
		}
		clients[c] = cl
	}
	round := func() error {
		loads := make(map[contender]load)
		err := rounds(ctx, g.turns, contenders, func(c contender) error {
			pid := c.process.cmd.Process.Pid
			l, before, begin := loads[c], clock(pid), time.Now()
			err := clients[c].burst()
			l.seconds += time.Since(begin).Seconds()
			l.cpu += (clock(pid) - before).Seconds()
			l.requests += float64(g.connections)
			loads[c] = l
			return err
		})
		if err != nil {
			return err
		}
		for _, c := range contenders {
			b.add(row, kase, c.system, rateMeasure, loads[c].rate())
			b.add(row, kase, c.system, costMeasure, loads[c].cost())
		}
		return nil
	}
	all := func() error {
		for range count {
			if err := round(); err != nil {
				return err
			}
		}
		return nil
	}
	if pinned(g.connections) {
		return onFirstCore(all)
	}
	return all()
}

// onFirstCore runs f on the core of the load generators. The thread may not end
// there: with it those processes would that it has started.
func onFirstCore(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var had, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &had); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	first, _ := cores()
	core, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	return errors.Join(f(), os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &had)))
}

// burster asks a server in bursts. It waits in system calls, so that no scheduler but
// the kernel's has a part in it.
type burster struct {
	bursts
	to      *unix.SockaddrInet4
	request []byte
	whole   int // bytes of a response, which on connections that stay have one length
	fds     []int
	buf     []byte
}

func (g bursts) newBurster(c contender) (*burster, error) {
	port, err := strconv.Atoi(strings.TrimPrefix(c.addr, loopbackHost+":"))
	if err != nil {
		return nil, fmt.Errorf("%s is not on %s: %w", c.system, loopbackHost, err)
	}
	end := "\r\n\r\n"
	if !g.stay {
		end = "\r\nConnection: close\r\n\r\n"
	}
	return &burster{
		bursts:  g,
		to:      &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}},
		request: []byte("GET " + g.path + " HTTP/1.1\r\nHost: " + c.addr + end),
		buf:     make([]byte, 64<<10),
	}, nil
}

func (cl *burster) burst() error {
	for i := range cl.connections {
		if len(cl.fds) == i {
			fd, err := cl.open()
			if err != nil {
				return err
			}
			cl.fds = append(cl.fds, fd)
		}
		// A request is so small that it is written whole.
		if _, err := again(func() (int, error) { return unix.Write(cl.fds[i], cl.request) }); err != nil {
			return os.NewSyscallError("write", err)
		}
	}
	for _, fd := range cl.fds {
		if err := cl.read(fd); err != nil {
			return err
		}
	}
	if !cl.stay {
		cl.close()
	}
	return nil
}

func (cl *burster) open() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	// A wait that is out of time is EAGAIN.
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	_, err = again(func() (int, error) { return 0, unix.Connect(fd, cl.to) })
	err = errors.Join(os.NewSyscallError("connect", err),
		os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)))
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// read reads one response, to its end or that of the connection.
func (cl *burster) read(fd int) error {
	total := 0
	for cl.whole == 0 || total < cl.whole {
		n, err := again(func() (int, error) { return unix.Read(fd, cl.buf[total:]) })
		if err != nil {
			return os.NewSyscallError("read", err)
		}
		if n == 0 {
			break
		}
		total += n
		if cl.stay && cl.whole == 0 {
			if cl.whole, err = responseLength(cl.buf[:total]); err != nil {
				return err
			}
		}
	}
	if total == 0 || total < cl.whole || !bytes.HasPrefix(cl.buf[:total], []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("a response of %d bytes: %.100q", total, cl.buf[:total])
	}
	return nil
}

func (cl *burster) close() {
	for _, fd := range cl.fds {
		_ = unix.Close(fd)
	}
	cl.fds = cl.fds[:0]
}

// responseLength returns how long the response is that begins so, or 0 while its header
// is not whole.
func responseLength(begin []byte) (int, error) {
	const end = "\r\n\r\n"
	header := bytes.Index(begin, []byte(end))
	if header < 0 {
		return 0, nil
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(begin)), nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.ContentLength < 0 {
		return 0, fmt.Errorf("a response without Content-Length: %q", begin[:header])
	}
	return header + len(end) + int(resp.ContentLength), nil
}

// again calls f until no signal interrupts it, such as those that Go sends itself.
func again(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != syscall.EINTR {
			return n, err
		}
	}
}
