//go:build linux

package main

import (
	"path/filepath"
	"strconv"
)

// pasteServer is the server of 2009.
func pasteServer(name string, flags ...string) server {
	return server{name, []seat{{work: plain, system: name}}, func(l *lineup, _ []seat, _ string, at []int) ([]string, error) {
		script := filepath.Join(l.module, "examples", "paste_server.py")
		return append([]string{pythonProgram, script, strconv.Itoa(at[0])}, flags...), nil
	}}
}
