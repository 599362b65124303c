package sockopt

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/procfs"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-sockopt/caddy-sockopt/internal/findings"
	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

const findingsPath = "/sockopt/findings"

// Times between two looks of the admin API.
const (
	usualLook   = 10 * time.Second
	longestLook = time.Minute
)

// mostLooked bounds how many connections of each listener and backend the look of each minute reads and remembers.
const mostLooked = 1000

// look is what was counted until a moment.
type look struct {
	at        time.Time
	stats     stats.Look
	datagrams map[*packetSocket]uint32 // dropped by UDP sockets
	overflows uint64                   // of accept queues in this network namespace
}

// findingsAnswer is the answer of GET /sockopt/findings.
type findingsAnswer struct {
	LookedAt struct {
		During      string `json:"during"`
		Listeners   int    `json:"listeners"`
		Backends    int    `json:"backends"`
		UDPSockets  int    `json:"udp_sockets"`
		Connections int    `json:"connections"`
	} `json:"looked_at"`
	Findings []findings.Finding `json:"findings"`
	Notes    []findings.Finding `json:"notes"`
}

// since looks again, at so many connections of each listener and backend or at all, and finds what
// is wrong since the look before.
func (before look) since(most int) (now look, a findingsAnswer) {
	now = look{at: time.Now(), datagrams: make(map[*packetSocket]uint32), overflows: overflows()}
	var between map[stats.Origin]stats.Totals
	now.stats, between = stats.TakeLook(before.stats, most)
	during := now.at.Sub(before.at).Round(time.Second)
	a.LookedAt.During = during.String()
	var evidence []findings.Evidence
	listening := make(map[stats.Origin]bool)
	at := &a.LookedAt
	for _, of := range []struct {
		stats.Direction
		places *int
	}{{stats.Accepted, &at.Listeners}, {stats.Dialed, &at.Backends}, {stats.Route, new(int)}} {
		for _, e := range shownEntries(of.Direction) {
			if !e.server.configuration.isActive() || listening[e.Origin] {
				continue // it is being replaced, or a second socket has the same address
			}
			listening[e.Origin] = of.Direction == stats.Accepted
			*of.places++
			at.Connections += between[e.Origin].Open
			seen := findings.Evidence{
				Found: stats.Found{Server: e.Server, Address: e.Address, Upstream: e.Upstream, Position: e.Position}, During: during,
				Totals: between[e.Origin], Overflows: now.overflows - min(now.overflows, before.overflows), QuickAck: e.QuickAck, Reason: e.Reason, Options: e.Options,
			}
			if w, ok := e.module.(*ListenerWrapper); ok {
				for _, p := range w.passed {
					if !p.option.Is(socket.PacingRate) || !w.server.routeOptions[p.option.Name] { // in a route it holds
						seen.PassedBy = append(seen.PassedBy, p.name)
					}
				}
			}
			evidence = append(evidence, seen)
		}
	}
	for _, p := range packetSockets.now() {
		now.datagrams[p.socket] = p.Dropped
		dropped := p.Dropped - min(p.Dropped, before.datagrams[p.socket])
		evidence = append(evidence, findings.Evidence{
			Found: stats.Found{Server: p.Server, Address: p.Address}, During: during,
			Options: p.Options, DroppedDatagrams: dropped, RecvBuffer: p.RecvBuffer,
		})
		a.LookedAt.UDPSockets++
	}
	for _, u := range uncoveredNow() {
		evidence = append(evidence, findings.Evidence{Found: stats.Found{Server: u.Server, Address: u.Address, Upstream: u.Upstream}, Trap: u.Trap, Fix: u.Fix})
	}
	a.Findings, a.Notes = findings.In(evidence, findings.System{Sysctl: socket.Sysctl, HasCapability: socket.HasCapability, TimeWait: timeWait})
	return now, a
}

// timeWait returns how many sockets of this network namespace that were connected to an
// address are in TIME-WAIT, 0 where that cannot be read.
func timeWait(upstream string) (n int) {
	const state = 6 // TCP_TIME_WAIT in the kernel's include/net/tcp_states.h
	to, err := net.ResolveTCPAddr("tcp", upstream)
	proc, procErr := procfs.NewDefaultFS()
	if err != nil || procErr != nil {
		return 0
	}
	for _, read := range []func() (procfs.NetTCP, error){proc.NetTCP, proc.NetTCP6} { //nolint:staticcheck // netlink is faster, and this is rare
		sockets, _ := read() // none where there is no IPv6
		for _, s := range sockets {
			if s.St == state && s.RemPort == uint64(to.Port) && s.RemAddr.Equal(to.IP) { //nolint:gosec // a port
				n++
			}
		}
	}
	return n
}

// overflows returns how often an accept queue of this network namespace was full, 0 where that
// cannot be read. A listening socket counts half-open scans and the like as drops, too.
func overflows() uint64 {
	self, err := procfs.Self()
	if err != nil {
		return 0
	}
	netstat, err := self.Netstat()
	if err != nil || netstat.ListenOverflows == nil {
		return 0
	}
	return uint64(*netstat.ListenOverflows)
}

// looking permits one look of the admin API at a time.
var looking = make(chan struct{}, 1)

// exiting ends looks when Caddy exits: it waits for requests to its admin API.
var exiting = make(chan struct{})

func init() { caddy.OnExit(func(context.Context) { close(exiting) }) }

// showFindings looks for as long as it is asked to.
func showFindings(w http.ResponseWriter, r *http.Request) error {
	during := usualLook
	for name, values := range r.URL.Query() {
		var err error
		if during, err = time.ParseDuration(values[0]); name != "during" || len(values) > 1 || err != nil || during < 0 || during > longestLook {
			return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("%s=%s: give during once, a time from 0s to 60s", name, values[0])}
		}
	}
	select {
	case looking <- struct{}{}:
		defer func() { <-looking }()
	default:
		return caddy.APIError{HTTPStatus: http.StatusTooManyRequests, Err: fmt.Errorf("somebody else looks already; ask again in %s", longestLook)}
	}
	before, _ := look{}.since(0)
	if err := http.NewResponseController(w).Flush(); err != nil { // whoever asks knows that it begins
		return err
	}
	select {
	case <-time.After(during):
	case <-r.Context().Done():
		return nil
	case <-exiting:
		panic(http.ErrAbortHandler) // the header was sent: an answer that breaks off is no answer
	}
	_, answer := before.since(0)
	return writeJSON(w, answer)
}

// found is what the last of the looks found that are logged, for all configurations of this process.
var found atomic.Pointer[[]stats.Found]

// looks are those looks.
var looks = struct {
	sync.Mutex
	before look // the last
	warned map[stats.Found]warning
}{before: look{at: time.Now()}, warned: make(map[stats.Found]warning)}

// warning is when a finding was warned of, and whether it has been there since.
type warning struct {
	at   time.Time
	last bool
}

// find looks once in a time until the configuration ends, at devices that may be back and for
// findings. It warns of those that are new, of each once an hour at most.
func (c *configuration) find(ctx context.Context, log *zap.Logger, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if c.isActive() {
				c.start(c.ctx) // unless all sockets are of HTTP/3 and from before, it has started
				boundSockets.look()
				warn(log, now)
			}
		}
	}
}

func warn(log *zap.Logger, now time.Time) {
	looks.Lock()
	defer looks.Unlock()
	var a findingsAnswer
	looks.before, a = looks.before.since(mostLooked)
	all := make([]stats.Found, len(a.Findings))
	for i, f := range a.Findings {
		all[i] = f.Found
	}
	found.Store(&all)
	for f, before := range looks.warned {
		before.last = before.last && slices.Contains(all, f)
		looks.warned[f] = before
		if !before.last && now.Sub(before.at) >= time.Hour {
			delete(looks.warned, f)
		}
	}
	for _, f := range a.Findings {
		if _, known := looks.warned[f.Found]; known {
			continue
		}
		looks.warned[f.Found] = warning{now, true}
		log.Warn(f.Name+": "+f.Evidence, zap.String("server", f.Server), zap.String("address", f.Address),
			zap.String("upstream", f.Upstream), zap.String("position", f.Position), zap.String("cost", f.Cost), zap.String("fix", f.Fix))
	}
}

// foundNow returns what the gauge of findings shows.
func foundNow() []stats.Found {
	if now := found.Load(); now != nil {
		return *now
	}
	return nil
}
