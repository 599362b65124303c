//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settings are what the command line says.
type settings struct {
	rows    string
	pairs   int
	quick   bool
	out     string
	missing string
	module  string // root of this module
	command string
}

// row is one kind of work that the systems are compared at.
type row struct {
	number  int
	title   string
	measure func(ctx context.Context, b *bench) error
	report  func(r *record) section
}

var rows = []row{
	{1, "The experiment of 2009", measureExperiment, reportExperiment},
	{2, "A client with Nagle's algorithm on", measureClient, reportClient},
	{3, "A backend with Nagle's algorithm on", measureBackend, reportBackend},
	{4, "Clients that behave", measureKeepAlive, reportKeepAlive},
	{5, "New connections", measureAccept, reportAccept},
	{6, "Idle connections", measureIdle, reportIdle},
	{7, "A large file", measureLarge, reportLarge},
	{8, "How cost grows", measureGrowth, reportGrowth},
}

func rowNames() string {
	names := make([]string, len(rows))
	for i, r := range rows {
		names[i] = fmt.Sprintf("%d %s", r.number, r.title)
	}
	return strings.Join(names, "; ")
}

// chosen returns the rows that the command line names.
func (s settings) chosen() ([]row, error) {
	if s.rows == "" {
		return rows, nil
	}
	var chosen []row
	for name := range strings.SplitSeq(s.rows, ",") {
		number, err := strconv.Atoi(strings.TrimSpace(name))
		i := slices.IndexFunc(rows, func(r row) bool { return r.number == number })
		if err != nil || i < 0 {
			return nil, fmt.Errorf("-rows: %q is not one of %s", name, rowNames())
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}

// bench is a run.
type bench struct {
	settings
	*record
	dir    string // of the run, removed at its end
	caddy  string // the binary
	site   *site
	lineup *lineup // the servers on loopback, for all rows
}

// A load is measured for a window. Where two systems are compared that hardly differ,
// many short windows tell more than few long ones: a shared machine changes its pace
// from one second to the next.
const (
	window = time.Second
	glance = 200 * time.Millisecond
)

// long returns a window that the short form makes shorter.
func (b *bench) long() time.Duration {
	if b.quick {
		return glance
	}
	return window
}

// few returns a count that the short form makes smaller.
func (b *bench) few(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

// descriptors are the open files that ten thousand connections need: lighttpd counts
// two for each.
const descriptors = 20_000

// measure runs the rows and ends every process that it started.
func measure(ctx context.Context, s settings) (r *record, err error) {
	chosen, err := s.chosen()
	if err != nil {
		return nil, err
	}
	if err := adopt(); err != nil {
		return nil, err
	}
	before := descendants(os.Getpid())
	// Children have the limits that were set, not those that Go raised for itself.
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	had := limit.Max
	limit.Cur, limit.Max = descriptors, max(limit.Max, descriptors)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("the run needs %d open files, and may have %d: %w", descriptors, had, err)
	}
	b := &bench{settings: s, record: newRecord(s)}
	if err := b.requirePeers(ctx); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	// Servers that drop root's rights read from it.
	if err := os.Chmod(b.dir, 0o755); err != nil { //nolint:gosec // for that
		return nil, err
	}
	b.caddy = filepath.Join(b.dir, "caddy")
	log.Print("building Caddy")
	build := program(ctx, "go", "build", "-o", b.caddy, "./cmd/caddy")
	build.Dir = b.module
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as Caddy's own releases
	if printed, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", build, err, printed)
	}
	if b.site, err = newSite(filepath.Join(b.dir, "www"), b.few(100<<20, 4<<20)); err != nil {
		return nil, err
	}
	begin := time.Now()
	err = b.take(ctx, chosen)
	b.Seconds = time.Since(begin).Round(time.Second).Seconds()
	if left := slices.DeleteFunc(descendants(os.Getpid()), func(pid int) bool { return slices.Contains(before, pid) }); len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("processes are left over: %v", left))
	}
	return b.record, err
}

// take starts the servers and takes the rows one after another.
func (b *bench) take(ctx context.Context, chosen []row) (err error) {
	if b.lineup, err = b.start(ctx, loopback(b)); err != nil {
		return err
	}
	defer b.lineup.end()
	for _, r := range chosen {
		begin := time.Now()
		log.Printf("row %d: %s", r.number, r.title)
		if err := r.measure(ctx, b); err != nil {
			return fmt.Errorf("row %d, %s: %w", r.number, r.title, err)
		}
		b.Rows = append(b.Rows, r.number)
		log.Printf("row %d: took %v", r.number, time.Since(begin).Round(time.Second))
	}
	return nil
}

// rounds has the contenders take turns, so that drift hits all of them: forwards in
// one round, backwards in the next, and each of them first in turn.
func rounds(ctx context.Context, count int, contenders []contender, measure func(c contender) error) error {
	for round := range count {
		for i := range contenders {
			if round%2 == 1 {
				i = len(contenders) - 1 - i
			}
			c := contenders[(i+round/2)%len(contenders)]
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := measure(c); err != nil {
				return fmt.Errorf("%s: %w", c.system, err)
			}
		}
	}
	return nil
}
