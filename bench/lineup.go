//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// The systems by their names in the tables.
const (
	stock      = "stock Caddy"
	stockAgain = "stock Caddy again" // what two servers of the same kind differ by
	auto       = "quickack auto"
	on         = "quickack on"
	off        = "quickack off"
	nagle      = "nodelay off" // as the server of 2009
	paste      = "Paste"
	pasteMend  = "Paste, TCP_NODELAY"
)

// work is what a port is for.
type work string

const (
	plain         work = "HTTP/1.1"
	secure        work = "HTTP/1.1 over TLS and HTTP/2"
	behindNagle   work = "before a Nagle backend"
	behindNoDelay work = "before a TCP_NODELAY backend"
)

// seat is one port of a server.
type seat struct {
	work
	system string
	caddySite
}

// server is a process of one of the systems.
type server struct {
	name  string
	seats []seat
	// configure writes the configuration into dir and returns the command. The
	// ports are those of the seats.
	configure func(l *lineup, seats []seat, dir string, at []int) (command []string, err error)
}

// contender is a server at one of its ports.
type contender struct {
	system  string
	addr    string
	secure  bool
	process *process
}

func (c contender) url(path string) string {
	if c.secure {
		return "https://" + c.addr + path
	}
	return "http://" + c.addr + path
}

// plan is which servers to start, in this order.
type plan struct {
	host    string
	wrap    []string // command that starts each of them
	servers []server
}

// lineup is the servers that run.
type lineup struct {
	*bench
	plan
	processes  []*process
	contenders map[work][]contender
	caddyAdmin string // of the last Caddy
}

const loopbackHost = "127.0.0.1"

// loopback is the plan of all servers for the rows over loopback.
func loopback(b *bench) plan {
	p := plan{host: loopbackHost}
	if !b.without(paste) {
		p.servers = append(p.servers, pasteServer(paste), pasteServer(pasteMend, "--nodelay"))
	}
	p.servers = append(p.servers, caddyServer(slices.Concat(comparedSeats, backendSeats, acceptSeats, largeSeats, growthSeats)))
	for _, s := range []server{nginxServer, haproxyServer, apacheServer, lighttpdServer} {
		if !b.without(s.name) {
			p.servers = append(p.servers, s)
		}
	}
	return p
}

// without reports whether a peer is missing, and the run goes on without it.
func (b *bench) without(name string) bool {
	return slices.Contains(b.Missing, name) || name == lighttpd && slices.Contains(b.Missing, "lighttpd's mod_openssl")
}

// start starts the servers of a plan. Each serves when it returns.
func (b *bench) start(ctx context.Context, p plan) (*lineup, error) {
	l := &lineup{bench: b, plan: p, contenders: make(map[work][]contender)}
	for _, s := range p.servers {
		if err := l.startServer(ctx, s); err != nil {
			l.end()
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return l, nil
}

// startServer starts a server, again when somebody took one of its ports first.
func (l *lineup) startServer(ctx context.Context, s server) (err error) {
	const attempts = 3
	s.seats = slices.DeleteFunc(slices.Clone(s.seats), func(seat seat) bool {
		_, backends := l.find(plain, paste)
		return (seat.work == behindNagle || seat.work == behindNoDelay) && !backends
	})
	for range attempts {
		dir, mkdirErr := os.MkdirTemp(l.dir, strings.Fields(strings.ToLower(s.name))[0])
		if mkdirErr != nil {
			return mkdirErr
		}
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // servers that drop root's rights read it
			return err
		}
		at, portErr := ports(loopbackHost, len(s.seats))
		if portErr != nil {
			return portErr
		}
		args, configureErr := s.configure(l, s.seats, dir, at)
		if configureErr != nil {
			return configureErr
		}
		args = slices.Concat(l.wrap, args)
		p, spawnErr := spawn(dir, args[0], args[1:]...)
		if spawnErr != nil {
			return spawnErr
		}
		if err = p.await(ctx, at); err != nil {
			p.end()
			continue
		}
		l.processes = append(l.processes, p)
		for i, seat := range s.seats {
			l.contenders[seat.work] = append(l.contenders[seat.work],
				contender{seat.system, address(l.host, at[i]), seat.work == secure || seat.secure, p})
		}
		return nil
	}
	return err
}

// await returns when the process listens on all ports: it and nobody else, who may have
// taken one in between, or in the network that the process is in.
func (p *process) await(ctx context.Context, at []int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, port := range at {
		for !p.listens(port) {
			select {
			case <-p.ended:
				return fmt.Errorf("it ended before it served: %w\n%s", p.err, p.output.String())
			case <-ctx.Done():
				return fmt.Errorf("it did not serve on port %d: %w\n%s", port, ctx.Err(), p.output.String())
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

// end stops all servers, the last first.
func (l *lineup) end() {
	for _, p := range slices.Backward(l.processes) {
		p.end()
	}
}

// find returns the server of a system that does some work.
func (l *lineup) find(w work, system string) (contender, bool) {
	i := slices.IndexFunc(l.contenders[w], func(c contender) bool { return c.system == system })
	if i < 0 {
		return contender{}, false
	}
	return l.contenders[w][i], true
}

// pick returns the servers of the systems named, as far as they are there.
func (l *lineup) pick(w work, systems ...string) []contender {
	var picked []contender
	for _, system := range systems {
		if c, ok := l.find(w, system); ok {
			picked = append(picked, c)
		}
	}
	return picked
}
