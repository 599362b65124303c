//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/prometheus/procfs"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// peer is another server or client.
type peer struct {
	name      string
	program   string
	pkg       string                                                        // the Debian package that has it
	configure func(dir string, s lab.Serving) (command []string, err error) // of a server
}

const pastePackage = "python3-paste"

// peers are in the order in which they start: proxies need their backends.
var peers = []peer{
	{paste, lab.Python, pastePackage, pasteCommand()},
	{pasteNoDelay, lab.Python, pastePackage, pasteCommand("--nodelay")},
	{"nginx", "nginx", "nginx", lab.NginxCommand},
	{"HAProxy", "haproxy", "haproxy", lab.HAProxyCommand},
	{"Apache httpd", "apache2", "apache2", apacheCommand},
	{"lighttpd", "lighttpd", "lighttpd-mod-openssl", lighttpdCommand},
	{"httperf", "httperf", "httperf", nil},
	{"ab", "ab", "apache2-utils", nil},
	{"nc", "nc", "netcat-openbsd", nil},
	{"strace", "strace", "strace", nil},
}

// missing returns an error where the peer is not installed.
func (p peer) missing() error {
	if _, err := lab.Find(p.program); err != nil || p.pkg == pastePackage && !lab.PasteInstalled() {
		return fmt.Errorf("%s is missing: install Debian's package %s", p.name, p.pkg)
	}
	return nil
}

// servers are the peers that serve.
var servers = []string{"nginx", "HAProxy", "Apache httpd", "lighttpd", paste, pasteNoDelay}

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
