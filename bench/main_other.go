//go:build !linux

// Command bench needs Linux: strace, TCP_QUICKACK, and what it reads of /proc.
package main

import "log"

func main() { log.Fatal("bench needs Linux") }
