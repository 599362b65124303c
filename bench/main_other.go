//go:build !linux

// Command bench compares this plugin with stock Caddy and with other servers. It
// needs Linux: strace, network namespaces, TCP_QUICKACK.
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench needs Linux, this is", runtime.GOOS)
	os.Exit(1)
}
