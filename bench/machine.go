//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/dustin/go-humanize"
)

// machine is where the run was made.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Memory string `json:"memory"`
	Load   string `json:"load"` // average of the minute before the run
}

func thisMachine() machine {
	return machine{
		CPU:    field("/proc/cpuinfo", "model name"),
		Cores:  runtime.NumCPU(),
		Kernel: strings.TrimSpace(content("/proc/sys/kernel/osrelease")),
		Memory: memory(),
		Load:   strings.Join(strings.Fields(content("/proc/loadavg"))[:1], ""),
	}
}

func memory() string {
	var kilobytes uint64
	if _, err := fmt.Sscanf(field("/proc/meminfo", "MemTotal"), "%d kB", &kilobytes); err != nil {
		return "unknown"
	}
	return humanize.IBytes(kilobytes << 10)
}

// content returns a file of /proc, or a blank where it cannot be read.
func content(file string) string {
	text, err := os.ReadFile(file) //nolint:gosec // of the processes that the run started
	if err != nil {
		return " "
	}
	return string(text)
}

// field returns the value that a file of /proc names.
func field(file, name string) string {
	for line := range strings.SplitSeq(content(file), "\n") {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// cores returns the first and the last core that this process may run on, which are
// the same where there is only one.
func cores() (first, last string) {
	allowed := strings.FieldsFunc(field("/proc/self/status", "Cpus_allowed_list"), func(r rune) bool { return r == ',' || r == '-' })
	return allowed[0], allowed[len(allowed)-1]
}

// version is that of a system or a client.
type version struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// peer is a program that is no part of this module.
type peer struct {
	name    string
	program string // that must be there
	pkg     string // of Debian, that has it
	tool    bool   // measures, rather than being measured
}

const pythonProgram = "/usr/bin/python3" // Debian's, which has Debian's packages

var peers = []peer{
	{name: "nginx", program: "nginx", pkg: "nginx"},
	{name: "HAProxy", program: "haproxy", pkg: "haproxy"},
	{name: "Apache httpd", program: "apache2", pkg: "apache2"},
	{name: "lighttpd", program: "lighttpd", pkg: "lighttpd"},
	{name: "lighttpd's mod_openssl", program: "/usr/lib/lighttpd/mod_openssl.so", pkg: "lighttpd-mod-openssl"},
	{name: "Paste", program: "/usr/lib/python3/dist-packages/paste/httpserver.py", pkg: "python3-paste"},
	{name: "httperf", program: "httperf", pkg: "httperf", tool: true},
	{name: "ab", program: "ab", pkg: "apache2-utils", tool: true},
	{name: "nc", program: "nc", pkg: "netcat-openbsd", tool: true},
	{name: "wrk", program: "wrk", pkg: "wrk", tool: true},
	{name: "h2load", program: "h2load", pkg: "nghttp2-client", tool: true},
	{name: "strace", program: "strace", pkg: "strace", tool: true},
	{name: "ip", program: "ip", pkg: "iproute2", tool: true},
}

// requirePeers notes the version of everything that takes part.
func (b *bench) requirePeers(ctx context.Context) error {
	// Debian keeps servers off a plain user's PATH.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return err
	}
	caddy, err := output(ctx, b.module, "go", "list", "-m", "-f", "{{.Version}}", "github.com/caddyserver/caddy/v2")
	if err != nil {
		return err
	}
	b.Versions = append(b.Versions, version{"this plugin", b.commit(ctx)}, version{"Caddy", caddy}, version{"Go", strings.TrimPrefix(runtime.Version(), "go")})
	var problems []error
	for _, p := range peers {
		if !p.installed() {
			problem := fmt.Errorf("%s is missing: install Debian's package %s", p.name, p.pkg)
			if p.tool || b.missing == "fail" {
				problems = append(problems, problem)
				continue
			}
			b.Missing = append(b.Missing, p.name)
			continue
		}
		is, err := output(ctx, b.module, "dpkg-query", "-W", "-f", "${Version}", p.pkg)
		if err != nil {
			is = "unknown"
		}
		b.Versions = append(b.Versions, version{p.name, is})
	}
	return errors.Join(problems...)
}

// commit names what the plugin was built from.
func (b *bench) commit(ctx context.Context) string {
	commit, err := output(ctx, b.module, "git", "describe", "--always", "--dirty")
	if err != nil {
		return "no commit"
	}
	return "commit " + commit
}

func (p peer) installed() bool {
	if filepath.IsAbs(p.program) {
		_, err := os.Stat(p.program)
		return err == nil
	}
	return found(p.program)
}
