//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// settings are what the command line says.
type settings struct {
	rows    string
	pairs   int
	quick   bool
	out     string
	command string
}

// row is one kind of work that the systems are compared at.
type row struct {
	number  int
	title   string
	needs   []string // names of peers
	measure func(ctx context.Context, b *bench) error
	report  func(r *record) section
}

var rows = []row{
	{1, "The experiment of 2009", append([]string{"httperf", "ab", "nc"}, servers...), measureExperiment, reportExperiment},
	{2, "A client with Nagle's algorithm on", servers, measureClient, reportClient},
	{3, "A backend with Nagle's algorithm on", servers, measureBackend, reportBackend},
	{4, "Keep-alive connections of well-behaved clients", []string{"strace"}, measureKeepAlive, reportKeepAlive},
	{5, "New connections", nil, measureAccept, reportAccept},
	{6, "Idle connections", nil, measureIdle, reportIdle},
	{7, "New HTTPS connections", servers, measureHandshake, reportHandshake},
	{8, "HTTP/3", nil, measureHTTP3, reportHTTP3},
}

// chosen returns the rows that the command line names.
func (s settings) chosen() (chosen []row, err error) {
	for name := range strings.SplitSeq(s.rows, ",") {
		i := slices.IndexFunc(rows, func(r row) bool { return strconv.Itoa(r.number) == name })
		if i < 0 {
			return nil, fmt.Errorf("-rows: %q is not from 1 to %d", name, len(rows))
		}
		chosen = append(chosen, rows[i])
	}
	return chosen, nil
}

// bench is a run.
type bench struct {
	settings
	*record
	*lineup // the servers of all rows but the last

	dir         string // removed when the run ends
	caddy       string // the binary
	root        string // directory of the payload
	certificate *lab.Certificate
}

// few returns a count that the short form makes smaller.
func (b *bench) few(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

// measure runs the rows.
func measure(ctx context.Context, s settings) (r *record, err error) {
	chosen, err := s.chosen()
	if err != nil {
		return nil, err
	}
	if err := lab.AdoptOrphans(); err != nil { // of Apache and nginx
		return nil, err
	}
	var needed []string
	for _, r := range chosen {
		needed = append(needed, r.needs...)
	}
	begin := time.Now()
	b := &bench{settings: s, record: &record{Command: s.command, Quick: s.quick, Date: begin.UTC().Format(time.DateTime) + " UTC"}}
	if b.Facts, err = facts(ctx, needed); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	b.root = filepath.Join(b.dir, "www")
	// Servers that drop root's rights read the payload.
	if err := errors.Join(
		os.Chmod(b.dir, 0o755),  //nolint:gosec // for them
		os.Mkdir(b.root, 0o755), //nolint:gosec // for them
		os.WriteFile(filepath.Join(b.root, "index.html"), lab.Stars, 0o644), //nolint:gosec // for them
	); err != nil {
		return nil, err
	}
	if b.certificate, err = lab.NewCertificate(b.dir); err != nil {
		return nil, err
	}
	if err := b.build(ctx); err != nil {
		return nil, err
	}
	b.lineup = b.newLineup()
	defer b.end()
	if err := b.startAll(needed); err != nil {
		return nil, err
	}
	for _, r := range chosen {
		log.Printf("row %d: %s", r.number, r.title)
		if err := r.measure(ctx, b); err != nil {
			return nil, fmt.Errorf("row %d, %s: %w", r.number, r.title, err)
		}
		b.Rows = append(b.Rows, r.number)
	}
	b.Seconds = time.Since(begin).Round(time.Second).Seconds()
	return b.record, nil
}

// build builds the Caddy of this tree.
func (b *bench) build(ctx context.Context) error {
	log.Print("building Caddy")
	b.caddy = filepath.Join(b.dir, "caddy")
	cmd := exec.CommandContext(ctx, "go", "build", "-C", lab.Root(), "-o", b.caddy, "./cmd/caddy") //nolint:gosec // into the run's directory
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")                                                // as Caddy's own releases
	_, err := lab.Output(cmd)
	return err
}

// rounds lets the contenders take turns, so that drift hits all of them: forwards in
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
