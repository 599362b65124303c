//go:build linux

package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

// load is what a load generator did, and what it cost the server.
type load struct {
	requests, bytes float64
	seconds         float64
	cpu             float64 // seconds of the server's
}

func (l load) rate() float64 { return l.requests / l.seconds }

// cost is the server's microseconds of CPU time for each request.
func (l load) cost() float64 { return 1e6 * l.cpu / l.requests }

//go:embed wrk.lua
var wrkScript []byte

// pinned says whether a client of so many connections stays on one core: whether the
// scheduler has it beside the server or on another is else most of what two runs differ
// by. Over a single connection client and server take turns, and where they do is the
// scheduler's part.
func pinned(connections int) bool { return connections > 1 }

// generator prepares a load generator that is pinned.
func generator(ctx context.Context, name string, args ...string) *exec.Cmd {
	first, _ := cores()
	return program(ctx, "taskset", append([]string{"--cpu-list", first, name}, args...)...)
}

// wrk asks for path over some connections at once, until the window is over.
func (b *bench) wrk(ctx context.Context, window time.Duration, c contender, path string, connections int, more ...string) (load, error) {
	script := filepath.Join(b.dir, "wrk.lua")
	if err := os.WriteFile(script, wrkScript, 0o600); err != nil {
		return load{}, err
	}
	args := append([]string{"--threads=1", fmt.Sprintf("--connections=%d", connections), "--duration=1h", "--timeout=10s", "--script=" + script}, more...)
	start := program
	if pinned(connections) {
		start = generator
	}
	cmd := start(ctx, "wrk", append(args, c.url(path))...)
	var printed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &printed, &printed
	before := c.process.cpu()
	if err := cmd.Start(); err != nil {
		return load{}, err
	}
	select {
	case <-ctx.Done():
	case <-time.After(window):
	}
	// It takes whole seconds only, but reports when it is interrupted, too.
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		return load{}, err
	}
	if err := cmd.Wait(); err != nil {
		// Before it listens to signals it loads OpenSSL and its script.
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGINT && window < patience {
			return b.wrk(ctx, 2*window, c, path, connections, more...)
		}
		return load{}, fmt.Errorf("%s: %w: %s", cmd, err, &printed)
	}
	l := load{cpu: c.process.cpu() - before}
	var microseconds, failed float64
	_, summary, _ := bytes.Cut(printed.Bytes(), []byte("SUMMARY "))
	if _, err := fmt.Sscan(string(summary), &l.requests, &l.bytes, &microseconds, &failed); err != nil {
		return load{}, fmt.Errorf("%s: %w: %s", cmd, err, &printed)
	}
	l.seconds = microseconds / 1e6
	if l.requests == 0 && failed == 0 && window < patience { // it had hardly begun, or the payload is large
		return b.wrk(ctx, 2*window, c, path, connections, more...)
	}
	if l.requests == 0 || failed > 0 {
		return load{}, fmt.Errorf("%s: %.0f requests failed: %s", cmd, failed, &printed)
	}
	return l, nil
}

// h2load asks over some HTTP/2 connections at once.
func (b *bench) h2load(ctx context.Context, c contender, path string, connections int) (load, error) {
	args := []string{"--threads=1", fmt.Sprintf("--clients=%d", connections), "--max-concurrent-streams=4", c.url(path)}
	before := c.process.cpu()
	text, err := outputOf(generator(ctx, "h2load", append([]string{fmt.Sprintf("--requests=%d", b.few(20_000, 200))}, args...)...))
	if err != nil {
		return load{}, err
	}
	l := load{cpu: c.process.cpu() - before}
	if l.requests, err = figure(text, `requests: .* (\d+) succeeded, 0 failed, 0 errored, 0 timeout`); err != nil {
		return load{}, err
	}
	if _, err = figure(text, `Application protocol: h(2)`); err != nil {
		return load{}, err
	}
	rate, err := figure(text, `finished in .*, (\S+) req/s`)
	l.seconds = l.requests / rate
	return l, err
}

// figure returns the number that the pattern's group finds in an output.
func figure(text, pattern string) (float64, error) {
	match := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if match == nil {
		return 0, fmt.Errorf("no %q in:\n%s", pattern, text)
	}
	return strconv.ParseFloat(match[1], 64)
}
