package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// dieWithParent has the kernel kill this process when its parent ends.
func dieWithParent() {
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0) // it takes every signal
}

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// AdoptOrphans makes this process the parent of what its children leave behind, so that
// End ends that, too.
func AdoptOrphans() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// Descendants returns the processes that come from pid, without pid itself.
func Descendants(pid int) []int {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil
	}
	children := make(map[int][]int)
	for _, p := range all {
		// A process may have ended since.
		if stat, err := p.Stat(); err == nil && stat.State != "Z" {
			children[stat.PPID] = append(children[stat.PPID], p.PID)
		}
	}
	var found []int
	for generation := children[pid]; len(generation) > 0; {
		found = append(found, generation...)
		var next []int
		for _, p := range generation {
			next = append(next, children[p]...)
		}
		generation = next
	}
	slices.Sort(found)
	return found
}

// PIDs are the process and those that it started.
func (p *Process) PIDs() []int {
	return append([]int{p.Process.Pid}, Descendants(p.Process.Pid)...)
}

// Listens reports whether the process, or one that it started, listens on a port of the
// network namespace that it is in.
func (p *Process) Listens(port int) bool {
	const listening = 0x0a // TCP_LISTEN
	pids := p.PIDs()
	network, err := procfs.NewFS(fmt.Sprintf("/proc/%d", pids[0]))
	if err != nil {
		return false
	}
	var sockets []string
	for _, table := range []func() (procfs.NetTCP, error){network.NetTCP, network.NetTCP6} {
		lines, err := table()
		if err != nil {
			continue // it has ended, or there is no IPv6
		}
		for _, line := range lines {
			if line.St == listening && line.LocalPort == uint64(port) {
				sockets = append(sockets, fmt.Sprintf("socket:[%d]", line.Inode))
			}
		}
	}
	return slices.ContainsFunc(pids, func(pid int) bool {
		descriptors, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // the pattern is right
		return slices.ContainsFunc(descriptors, func(descriptor string) bool {
			target, err := os.Readlink(descriptor)
			return err == nil && slices.Contains(sockets, target)
		})
	})
}

// CPU returns the CPU time that the process has used, and those that it started.
func (p *Process) CPU() time.Duration {
	var all time.Duration
	for _, pid := range p.PIDs() {
		all += CPU(pid)
	}
	return all
}

// CPU returns the CPU time that one process has used.
func CPU(pid int) time.Duration {
	// clock_getcpuclockid(3), and MAKE_PROCESS_CPUCLOCK with CPUCLOCK_SCHED in the
	// kernel's include/linux/posix-timers_types.h. /proc/PID/stat has the same in
	// hundredths of a second.
	var spent unix.Timespec
	if unix.ClockGettime(int32(^pid<<3|2), &spent) != nil { //nolint:gosec // a pid fits
		return 0
	}
	return time.Duration(spent.Nano())
}

// Memory returns the bytes that the process takes, and those that it started. Each page
// that several share is divided among them.
func (p *Process) Memory() float64 {
	var bytes float64
	for _, pid := range p.PIDs() {
		proc, err := procfs.NewProc(pid)
		if err != nil {
			continue // it has ended
		}
		if memory, err := proc.ProcSMapsRollup(); err == nil {
			bytes += float64(memory.Pss)
		}
	}
	return bytes
}

// End ends the process, and what it started as far as this process adopts orphans.
func (p *Process) End() {
	started := p.PIDs()
	_ = terminate(p.Process) // it may have ended
	p.wait(Patience / 3)
	for _, pid := range started[1:] {
		reap(pid)
	}
}

// reap ends an orphan that this process has adopted.
func reap(pid int) {
	_ = unix.Kill(pid, unix.SIGKILL) // mostly it has ended
	for deadline := time.Now().Add(Patience / 3); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		got, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
		if got == pid || err != nil {
			return
		}
	}
}
