package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// Command prepares another program. It gets SIGTERM when ctx ends. On Linux the kernel
// kills it when this process ends.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // the programs that tests and the bench start
	endWithParent(cmd)
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = time.Second
	return cmd
}

// Output runs a command to its end and returns what it printed.
func Output(cmd *exec.Cmd) (string, error) {
	text, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s: %w: %s", cmd, err, exit.Stderr)
	}
	return strings.TrimSpace(string(text)), err
}

// Process is a server that runs.
type Process struct {
	*exec.Cmd
	output Buffer
	ended  chan struct{}
	err    error // how it ended
}

// Start starts a server. What it prints is kept.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{Cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// Printed returns what the process has printed so far.
func (p *Process) Printed() string { return p.output.String() }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Await polls until something is so. It returns an error when the process has ended
// before, or Patience has.
func (p *Process) Await(what string, so func() bool) error {
	for deadline := time.Now().Add(Patience); !so(); time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.ended:
			return fmt.Errorf("it ended before %s: %w\n%s", what, p.err, p.Printed())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v until %s\n%s", Patience, what, p.Printed())
		}
	}
	return nil
}

// Answers reports whether connections to an address are accepted.
func Answers(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Eventually polls until something is so, the more rarely the longer it takes. It returns
// an error when Patience has ended before.
func Eventually(what string, so func() (bool, error)) error {
	for begin := time.Now(); ; time.Sleep(max(time.Since(begin)/20, time.Millisecond)) {
		if now, err := so(); now || err != nil {
			return err
		}
		if time.Since(begin) > Patience {
			return fmt.Errorf("waited %v until %s", Patience, what)
		}
	}
}

// wait waits for the process to end, and kills it when it takes too long.
func (p *Process) wait(patience time.Duration) {
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.Process.Kill() // it may have ended
		<-p.ended
	}
}

// Buffer keeps what a process prints.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*Buffer)(nil)

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
