//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// patience bounds every wait for something that is certain to come.
const patience = 30 * time.Second

func found(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// program prepares one of the peers, which the kernel ends with this process.
func program(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // the peers, with arguments from here
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Second
	return cmd
}

// output runs a program in dir to its end and returns what it printed.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := program(ctx, name, args...)
	cmd.Dir = dir
	return outputOf(cmd)
}

// outputOf runs a program to its end and returns what it printed.
func outputOf(cmd *exec.Cmd) (string, error) {
	text, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s: %w: %s", cmd, err, exit.Stderr)
	}
	return strings.TrimSpace(string(text)), err
}

// moduleRoot is the directory of this module, in which the command was started.
func moduleRoot(ctx context.Context) (string, error) {
	return output(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", "github.com/caddy-sockopt/caddy-sockopt")
}

// adopt has the kernel make this process the parent of what its children leave
// behind, so that nothing is lost (PR_SET_CHILD_SUBREAPER, prctl(2)).
func adopt() error {
	const setChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	return nil
}

// descendants returns the processes that come from pid, without pid itself.
func descendants(pid int) []int {
	children := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, file := range stats {
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		fields := statFields(child)
		if err != nil || len(fields) < 2 || fields[0] == "Z" {
			continue
		}
		parent, err := strconv.Atoi(fields[1])
		if err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	var all []int
	for generation := children[pid]; len(generation) > 0; {
		all = append(all, generation...)
		var next []int
		for _, p := range generation {
			next = append(next, children[p]...)
		}
		generation = next
	}
	slices.Sort(all)
	return all
}

// statFields returns /proc/PID/stat from the state on, after the name, which may
// have blanks in it (proc_pid_stat(5)).
func statFields(pid int) []string {
	_, rest, _ := strings.Cut(content(fmt.Sprintf("/proc/%d/stat", pid)), ") ")
	return strings.Fields(rest)
}

// process is a server that runs.
type process struct {
	cmd    *exec.Cmd
	output lockedBuffer
	ended  chan struct{}
	err    error // how it ended
}

// spawn starts a server.
func spawn(dir, name string, args ...string) (*process, error) {
	p := &process{cmd: program(context.Background(), name, args...), ended: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME=", "XDG_CONFIG_HOME=")
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// pids are the process and those that it started.
func (p *process) pids() []int {
	return append([]int{p.cmd.Process.Pid}, descendants(p.cmd.Process.Pid)...)
}

// listens reports whether the process, or one that it started, listens on a port of the
// network that it is in (proc_net_tcp(5)).
func (p *process) listens(port int) bool {
	const localAddress, state, inode, listening = 1, 3, 9, "0A"
	suffix := fmt.Sprintf(":%04X", port)
	pids := p.pids()
	var sockets []string
	for _, table := range []string{"tcp", "tcp6"} {
		for line := range strings.Lines(content(fmt.Sprintf("/proc/%d/net/%s", pids[0], table))) {
			fields := strings.Fields(line)
			if len(fields) > inode && fields[state] == listening && strings.HasSuffix(fields[localAddress], suffix) {
				sockets = append(sockets, "socket:["+fields[inode]+"]")
			}
		}
	}
	return slices.ContainsFunc(pids, func(pid int) bool {
		descriptors, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // the pattern is right
		return slices.ContainsFunc(descriptors, func(descriptor string) bool {
			is, err := os.Readlink(descriptor)
			return err == nil && slices.Contains(sockets, is)
		})
	})
}

// cpu returns the seconds of CPU time that the process has used, and those that it
// started.
func (p *process) cpu() float64 {
	var all time.Duration
	for _, pid := range p.pids() {
		all += clock(pid)
	}
	return all.Seconds()
}

// clock returns the CPU time that a process has used.
func clock(pid int) time.Duration {
	// clock_getcpuclockid(3), and MAKE_PROCESS_CPUCLOCK with CPUCLOCK_SCHED in the
	// kernel's include/linux/posix-timers_types.h. /proc/PID/stat has the same in
	// hundredths of a second.
	id := ^pid<<3 | 2
	var spent syscall.Timespec
	//nolint:gosec // the kernel writes to it
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&spent)), 0)
	if errno != 0 { // it may have ended
		return 0
	}
	return time.Duration(spent.Nano())
}

// memory returns the bytes that the process and those that it started take, each
// page that several share divided among them.
func (p *process) memory() float64 {
	var kilobytes float64
	for _, pid := range p.pids() {
		var n float64
		if _, err := fmt.Sscanf(field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss"), "%f kB", &n); err == nil {
			kilobytes += n
		}
	}
	return kilobytes * 1024
}

// end stops the process, and what it started.
func (p *process) end() {
	started := p.pids()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
	case <-time.After(patience / 3):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	for _, pid := range started[1:] {
		reap(pid)
	}
}

// reap ends an orphan, which this process has adopted.
func reap(pid int) {
	_ = syscall.Kill(pid, syscall.SIGKILL) // mostly it has ended
	for deadline := time.Now().Add(patience / 3); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		got, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		if got == pid || err != nil {
			return
		}
	}
}

// lockedBuffer keeps what a process prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*lockedBuffer)(nil)

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
