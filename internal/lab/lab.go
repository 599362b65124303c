// Package lab is what tests and the bench share: a Caddy in a process of its own, other
// servers, clients, certificates, ports, network namespaces, strace, and one rule for
// what a machine lacks.
//
// What takes a testing.TB fails or skips the test. Everything else returns errors, so
// that a program can use it.
//
// The package links no Caddy, which keeps the test binaries of other packages small:
// package inprocess runs one in the test's process, and Main is told what Caddy is.
//
// The files:
//
//	require.go      what a machine may lack
//	long.go         the short and the long form of a test
//	process.go      child processes, and on Linux what they use
//	port.go         ports that the kernel picks
//	certificate.go  a certificate for loopback
//	caddyfile.go    pieces of a Caddyfile
//	caddy.go        a running Caddy, and its admin API
//	spawn.go        a Caddy in a process of its own
//	log.go          what Caddy logs and measures
//	sites.go        sites that a test compares
//	client.go       clients over one connection, and HTTP/1.1
//	http2.go        HTTP/2, frame by frame
//	serve.go        other servers as child processes: nginx, HAProxy, Python
//	peer.go         other programs that run to their end, and figures in their output
//	strace.go       system calls of a Caddy
//	namespace.go    a network namespace behind a pair of links
//	path.go         a network namespace behind a path with delay and loss
//	socket.go       options and TCP_INFO as the kernel has them
//	sysctl.go       the kernel's settings
//	quantile.go     medians
//	ten.go          two lists of ten options
//	expectations.go what is true of each option
package lab

import (
	"bytes"
	"time"
)

// Patience bounds every wait for something that is certain to come.
const Patience = 30 * time.Second

// Stars is the payload of the experiment of 2009, and what a bare echo_payload returns.
var Stars = bytes.Repeat([]byte("*"), 10_000)
