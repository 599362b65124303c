//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// The systems by their names in the tables.
const (
	stock        = "stock Caddy"
	stockAgain   = "stock Caddy again" // how much two servers of the same kind differ
	auto         = "quickack auto"
	on           = "quickack on"
	off          = "quickack off"
	nagle        = "nodelay off" // as the server of 2009
	paste        = "Paste"
	pasteNoDelay = "Paste, TCP_NODELAY"
)

// wrappers are the listener wrappers of the Caddys that are compared. Stock Caddy is the
// same process, at a port whose listener is not wrapped.
var wrappers = map[string]string{
	stock:      "",
	stockAgain: "",
	auto:       "sockopt",
	on:         "sockopt {\nquickack on\n}",
	off:        "sockopt {\nquickack off\n}",
	nagle:      "sockopt {\nnodelay off\n}",
}

// work is what a port is for.
type work string

const (
	plain         work = "HTTP/1.1"
	secure        work = "TLS"
	behindNagle   work = "before a Nagle backend"
	behindNoDelay work = "before a TCP_NODELAY backend"
)

// contender is a server at one of its ports.
type contender struct {
	system string
	port   int
	pid    int // of a Caddy; other servers have several processes
}

func (c contender) addr() string { return lab.HostPort(lab.Loopback, c.port) }

// site is one port of a Caddy.
type site struct {
	work
	system     string
	Wrapper    string // in listener_wrappers
	Packets    string // in packet_conn_wrappers
	Directives string
	Secure     bool
	Port       int
}

// lineup is servers that run.
type lineup struct {
	bench      *bench
	processes  []*lab.Process
	release    []func() // its ports
	contenders map[work][]contender
}

func (b *bench) newLineup() *lineup { return &lineup{bench: b, contenders: make(map[work][]contender)} }

// startAll starts the servers that the rows have in common: the peers that are needed,
// and a Caddy.
func (l *lineup) startAll(needed []string) error {
	for _, p := range peers {
		if p.configure != nil && slices.Contains(needed, p.name) {
			if err := l.startPeer(p); err != nil {
				return err
			}
		}
	}
	_, err := l.startCaddy(slices.Concat(keepAliveSites(), l.backendSites(), acceptSites(), http3Sites()))
	return err
}

// start starts a server, which listens on its ports when this returns.
func (l *lineup) start(dir string, command []string, ports []int) (*lab.Process, error) {
	path, err := lab.Find(command[0])
	if err != nil {
		return nil, err
	}
	cmd := lab.Command(context.Background(), path, command[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME=", "XDG_CONFIG_HOME=")
	p, err := lab.Start(cmd)
	if err != nil {
		return nil, err
	}
	l.processes = append(l.processes, p)
	for _, port := range ports {
		if err := p.Await(fmt.Sprintf("it listened on port %d", port), func() bool { return p.Listens(port) }); err != nil {
			return nil, fmt.Errorf("%s: %w", command[0], err)
		}
	}
	return p, nil
}

// prepare makes a server's directory, and reserves its ports.
func (l *lineup) prepare(count int) (dir string, ports []int, err error) {
	if dir, err = os.MkdirTemp(l.bench.dir, "server"); err != nil {
		return "", nil, err
	}
	for range count {
		port, release, err := lab.ReservePort()
		if err != nil {
			return "", nil, err
		}
		ports, l.release = append(ports, port), append(l.release, release)
	}
	return dir, ports, os.Chmod(dir, 0o755) //nolint:gosec // it may drop root's rights
}

// startCaddy starts a Caddy with some sites.
func (l *lineup) startCaddy(sites []site) (*lab.Caddy, error) {
	dir, ports, err := l.prepare(len(sites) + 1)
	if err != nil {
		return nil, err
	}
	for i := range sites {
		sites[i].Port = ports[i]
	}
	caddy := &lab.Caddy{Dir: dir, Admin: lab.HostPort(lab.Loopback, ports[len(sites)])}
	file := filepath.Join(dir, "Caddyfile")
	err = render(file, "Caddyfile.tmpl", struct {
		Caddy       *lab.Caddy
		Sites       []site
		Certificate string
	}{caddy, sites, l.bench.certificate.File})
	if err != nil {
		return nil, err
	}
	p, err := l.start(dir, []string{l.bench.caddy, "run", "--adapter", "caddyfile", "--config", file}, ports)
	if err != nil {
		return nil, err
	}
	caddy.PID = p.Process.Pid
	for _, s := range sites {
		l.put(s.work, contender{s.system, s.Port, caddy.PID})
	}
	return caddy, nil
}

// startPeer starts one of the other servers: it serves the payload, also over TLS, and
// forwards to both Pastes. Paste only serves.
func (l *lineup) startPeer(p peer) error {
	dir, ports, err := l.prepare(4)
	if err != nil {
		return err
	}
	addr := func(i int) string { return lab.HostPort(lab.Loopback, ports[i]) }
	s := lab.Serving{Addr: addr(0), Root: l.bench.root, Certificate: l.bench.certificate.File}
	kinds := []work{plain}
	if p.pkg != pastePackage {
		kinds = []work{plain, secure, behindNagle, behindNoDelay}
		s.TLSAddr = addr(1)
		s.Proxies = []lab.Proxy{{Addr: addr(2), Backend: l.find(plain, paste).addr()}, {Addr: addr(3), Backend: l.find(plain, pasteNoDelay).addr()}}
	}
	for i, w := range kinds {
		l.put(w, contender{system: p.name, port: ports[i]})
	}
	command, err := p.configure(dir, s)
	if err != nil {
		return err
	}
	_, err = l.start(dir, command, ports[:len(kinds)])
	return err
}

// pasteCommand starts the server of 2009.
func pasteCommand(flags ...string) func(string, lab.Serving) ([]string, error) {
	return func(_ string, s lab.Serving) ([]string, error) {
		script := filepath.Join(lab.Root(), "examples", "paste_server.py")
		return append([]string{lab.Python, script, lab.PortOf(s.Addr)}, flags...), nil
	}
}

func apacheCommand(dir string, s lab.Serving) (command []string, err error) {
	file := filepath.Join(dir, "apache.conf")
	return []string{"apache2", "-DFOREGROUND", "-f", file, "-d", dir}, render(file, "apache.conf.tmpl", s)
}

func lighttpdCommand(dir string, s lab.Serving) (command []string, err error) {
	file := filepath.Join(dir, "lighttpd.conf")
	return []string{"lighttpd", "-D", "-f", file}, render(file, "lighttpd.conf.tmpl", s)
}

func (l *lineup) put(w work, c contender) { l.contenders[w] = append(l.contenders[w], c) }

// pick returns the servers of these systems that do some work, as far as they run.
func (l *lineup) pick(w work, systems ...string) []contender {
	var picked []contender
	for _, system := range systems {
		for _, c := range l.contenders[w] {
			if c.system == system {
				picked = append(picked, c)
			}
		}
	}
	return picked
}

// find returns the server of a system that does some work.
func (l *lineup) find(w work, system string) contender { return l.pick(w, system)[0] }

// end stops all servers, the last first.
func (l *lineup) end() {
	for _, p := range slices.Backward(l.processes) {
		p.End()
	}
	for _, release := range l.release {
		release()
	}
}
