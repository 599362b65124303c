//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// profile notes in which of this plugin's functions Caddy spends its CPU time under
// a load, and what they call.
func (b *bench) profile(ctx context.Context, note string, c contender, path string, more ...string) error {
	seconds := b.few(3, 1)
	file := filepath.Join(b.dir, note+".pprof")
	loading, stop := context.WithCancel(ctx)
	defer stop()
	var load sync.WaitGroup
	var loadErr error
	load.Go(func() {
		for loading.Err() == nil && loadErr == nil {
			_, loadErr = b.wrk(ctx, b.long(), c, path, atOnce, more...)
		}
	})
	profile, err := b.lineup.ask(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
	stop()
	load.Wait()
	if err != nil {
		return err
	}
	if loadErr != nil {
		return loadErr
	}
	if err := os.WriteFile(file, []byte(profile), 0o600); err != nil {
		return err
	}
	text, err := output(ctx, b.dir, "go", "tool", "pprof", "-top", "-cum", "-nodecount=20",
		"-focus=caddy-sockopt", `-show=caddy-sockopt|syscall\.[A-Z]`, b.caddy, file)
	if err != nil {
		return err
	}
	// What is before the table names files of this run.
	if i := strings.Index(text, "Showing nodes"); i >= 0 {
		text = text[i:]
	}
	b.Notes[note] = c.system + "\n" + text
	return nil
}
