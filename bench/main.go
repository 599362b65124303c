//go:build linux

// Command bench compares this plugin with stock Caddy and with other servers, side
// by side on one machine, and writes what it measured into RESULTS.md:
//
//	go run ./bench
//
// README.md says which packages it needs and how to read the results.
//
// The files:
//
//	main.go          the command line
//	run.go           a run: its rows, and rounds in which the systems take turns
//	machine.go       where and with what it was measured
//	samples.go       what was measured
//	process.go       the servers' processes
//	port.go          ports that the kernel picks
//	site.go          what every server serves, and its certificate
//	lineup.go        the servers that are compared
//	caddy.go, nginx.go, haproxy.go, apache.go, lighttpd.go, paste.go
//	                 how each of them is started
//	load.go          the load generators
//	trace.go         system calls, by strace
//	profile.go       where Caddy spends its time
//	namespace.go     a network of its own, with an MTU of 1500
//	experiment.go, client.go, backend.go, keepalive.go, growth.go, accept.go, idle.go, large.go
//	                 the rows: what each measures, and what it reports
//	report.go        tables, bars and RESULTS.md
//	picture.go       the pictures
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	log.SetFlags(log.Ltime)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		log.Fatal(err)
	}
}

// command does what the command line says.
func command(ctx context.Context, args []string) error {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&s.rows, "rows", "", "rows to measure, such as 2,3,5; without it all: "+rowNames())
	flags.IntVar(&s.pairs, "pairs", 12, "rounds of the rows that compare with stock Caddy in pairs")
	flags.BoolVar(&s.quick, "quick", false, "a short form of each row, for a test: its figures mean little")
	flags.StringVar(&s.out, "out", "", "directory for RESULTS.md, the pictures and samples.json; without it the directory bench")
	flags.StringVar(&s.missing, "missing", "fail", "what to do without a peer's package: fail, or skip that peer")
	render := flags.Bool("render", false, "measure nothing: write RESULTS.md and the pictures again from samples.json")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "go run ./bench [flags] compares this plugin with stock Caddy and other servers.")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if s.missing != "fail" && s.missing != "skip" {
		return fmt.Errorf("-missing %s is not fail or skip", s.missing)
	}
	if s.pairs < 1 {
		return fmt.Errorf("-pairs %d is not at least 1", s.pairs)
	}
	module, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	s.module = module
	if s.out == "" {
		s.out = filepath.Join(module, "bench")
	}
	if *render {
		r, err := readRecord(s.out)
		if err != nil {
			return err
		}
		return report(r, s.out)
	}
	s.command = strings.Join(append([]string{"go run ./bench"}, args...), " ")
	r, err := measure(ctx, s)
	if err != nil {
		return errors.Join(err, r.rescue())
	}
	if err := r.write(s.out); err != nil {
		return err
	}
	return report(r, s.out)
}
