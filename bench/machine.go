//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// peer is another server or client.
type peer struct {
	name      string
	program   string
	pkg       string                                                        // the Debian package that has it
	configure func(dir string, s lab.Serving) (command []string, err error) // of a server
}

var peers = []peer{
	{"nginx", "nginx", "nginx", lab.NginxCommand},
	{"HAProxy", "haproxy", "haproxy", lab.HAProxyCommand},
	{"Apache httpd", "apache2", "apache2", apacheCommand},
	{"lighttpd", "lighttpd", "lighttpd-mod-openssl", lighttpdCommand},
	{paste, lab.Python, "python3-paste", nil},
	{"httperf", "httperf", "httperf", nil},
	{"ab", "ab", "apache2-utils", nil},
	{"nc", "nc", "netcat-openbsd", nil},
	{"strace", "strace", "strace", nil},
}

// missing returns an error where the peer is not installed.
func (p peer) missing() error {
	if _, err := lab.Find(p.program); err != nil || p.name == paste && !lab.PasteInstalled() {
		return fmt.Errorf("%s is missing: install Debian's package %s", p.name, p.pkg)
	}
	return nil
}

// servers are the peers that serve.
var servers = []string{"nginx", "HAProxy", "Apache httpd", "lighttpd", paste}

// fact is one about the machine, or the version of what takes part.
type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// facts returns where and with what the run is made, and an error for each peer that is
// needed and missing.
func facts(ctx context.Context, needed []string) ([]fact, error) {
	output := func(name string, args ...string) string {
		text, err := lab.Output(lab.Command(ctx, name, args...))
		if err != nil {
			return "unknown"
		}
		return text
	}
	proc, procErr := procfs.NewDefaultFS()
	cpu, cpuErr := proc.CPUInfo()
	memory, memoryErr := proc.Meminfo()
	load, loadErr := proc.LoadAvg()
	if err := errors.Join(procErr, cpuErr, memoryErr, loadErr); err != nil {
		return nil, err
	}
	all := []fact{
		{"machine", fmt.Sprintf("%s, %d cores, %.0f GiB of memory", cpu[0].ModelName, runtime.NumCPU(), float64(*memory.MemTotalBytes)/(1<<30))},
		{"kernel", "Linux " + lab.Sysctl("kernel.osrelease")},
		{"load before", fmt.Sprintf("%.2f, average of the minute before the run", load.Load1)},
		{"this plugin", "commit " + output("git", "-C", lab.Root(), "describe", "--always", "--dirty")},
		{"Caddy", output("go", "list", "-C", lab.Root(), "-m", "-f", "{{.Version}}", "github.com/caddyserver/caddy/v2")},
		{"Go", strings.TrimPrefix(runtime.Version(), "go")},
	}
	var problems []error
	for _, p := range peers {
		if !slices.Contains(needed, p.name) {
			continue
		}
		problems = append(problems, p.missing())
		all = append(all, fact{p.name, output("dpkg-query", "-W", "-f", "${Version}", p.pkg)})
	}
	return all, errors.Join(problems...)
}

// cores returns the first and the last core that this process may run on, which are the
// same where there is only one.
func cores() (first, last int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, 0, os.NewSyscallError("sched_getaffinity", err)
	}
	first = -1
	for core := range 64 * len(set) {
		if set.IsSet(core) {
			last = core
			if first < 0 {
				first = core
			}
		}
	}
	return first, last, nil
}
