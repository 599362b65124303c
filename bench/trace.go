//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// tally is how often a system call was made on sockets, and the sum of what it
// returned: mostly bytes.
type tally struct{ calls, returned float64 }

// connectionCalls are the system calls with which servers serve connections.
const connectionCalls = "read,write,readv,writev,recvfrom,sendto,recvmsg,sendmsg,sendmmsg,sendfile,splice," +
	"setsockopt,getsockopt,accept,accept4,shutdown,close"

var (
	errNotAttached = errors.New("strace did not attach")
	errNotClosed   = errors.New("the server did not close its connections")
)

// trace counts the calls that a server makes on its sockets while f runs, up to the
// last: f ends as many connections, and the server's close of each is waited for. A
// client has all that a call sends before strace knows how the call ended.
func (b *bench) trace(ctx context.Context, p *process, connections float64, f func() error) (map[string]tally, error) {
	file := filepath.Join(b.dir, "strace")
	pids := p.pids()
	args := []string{"--follow-forks", "--decode-fds=path", "--signal=none", "--string-limit=0", "--trace=" + connectionCalls, "--output=" + file}
	for _, pid := range pids {
		args = append(args, fmt.Sprint("--attach=", pid))
	}
	var said lockedBuffer
	cmd := program(ctx, "strace", args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	attached := func() bool { return strings.Count(said.String(), " attached") >= len(pids) }
	closed := func() bool {
		text, err := os.ReadFile(file) //nolint:gosec // of this run
		return err == nil && tallies(text)["close"].calls >= connections
	}
	err := errNotAttached
	if eventually(attached) {
		err = f()
		if err == nil && !eventually(closed) {
			err = errNotClosed
		}
	}
	_ = cmd.Process.Signal(os.Interrupt) // it detaches
	var exit *exec.ExitError
	if waitErr := cmd.Wait(); waitErr != nil && !errors.As(waitErr, &exit) {
		err = errors.Join(err, waitErr)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, said.String())
	}
	text, err := os.ReadFile(file) //nolint:gosec // of this run
	return tallies(text), err
}

// eventually waits, with patience, until something is so.
func eventually(so func() bool) bool {
	for deadline := time.Now().Add(patience); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

var tracedCall = regexp.MustCompile(`^(\w+)\((.*)\) += (-?\d+)`)

// tallies counts calls in the form
//
//	1234  read(9<socket:[5678]>, ""..., 4096) = 78
//
// A call during which another thread made one is in two lines. Reads of one byte are
// left out: with them net/http looks whether the client leaves, as often as the
// scheduler has it.
func tallies(text []byte) map[string]tally {
	counted := make(map[string]tally)
	begun := make(map[string]string) // by thread
	for line := range bytes.Lines(text) {
		thread, call, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		call = strings.TrimLeft(call, " ")
		if beginning, ok := strings.CutSuffix(call, " <unfinished ...>"); ok {
			begun[thread] = beginning
			continue
		}
		if strings.HasPrefix(call, "<... ") {
			_, end, _ := strings.Cut(call, " resumed>")
			call = begun[thread] + end
		}
		match := tracedCall.FindStringSubmatch(call)
		if match == nil || !strings.Contains(match[2], "<socket:") || match[1] == "read" && strings.HasSuffix(match[2], ", 1") {
			continue
		}
		t := counted[match[1]]
		t.calls++
		if returned, err := strconv.ParseFloat(match[3], 64); err == nil && returned > 0 {
			t.returned += returned
		}
		counted[match[1]] = t
	}
	return counted
}
