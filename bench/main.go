//go:build linux

// Command bench compares this plugin with stock Caddy and with other servers, side by
// side on one machine, and writes what it measured into RESULTS.md:
//
//	go run -C bench .
//
// README.md says which packages it needs and how to read the results.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/signal"
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
	flags.StringVar(&s.rows, "rows", "1,2,3,4,5,6,7,8", "rows to measure; the results of the others stay")
	flags.IntVar(&s.pairs, "pairs", 12, "rounds; the comparisons with stock Caddy have 25 times as many")
	flags.BoolVar(&s.quick, "quick", false, "a short form of each row, for a test: its figures mean little")
	flags.StringVar(&s.out, "out", ".", "directory for RESULTS.md, the pictures and "+samplesFile)
	render := flags.Bool("render", false, "measure nothing: write RESULTS.md and the pictures again from "+samplesFile)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if s.pairs < 1 {
		return fmt.Errorf("-pairs %d is not at least 1", s.pairs)
	}
	if *render {
		r, err := readRecord(s.out)
		if err != nil {
			return err
		}
		return report(r, s.out)
	}
	s.command = strings.Join(append([]string{"go run -C bench ."}, args...), " ")
	r, err := measure(ctx, s)
	if err != nil {
		return err
	}
	if len(r.Rows) < len(rows) && !r.Quick {
		before, err := readRecord(s.out)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			before.replace(r)
			r = before
		}
	}
	return errors.Join(r.write(s.out), report(r, s.out))
}
