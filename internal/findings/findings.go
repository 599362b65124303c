// Package findings says what is wrong, what it costs and how to repair it. It is told what was seen,
// and asks nobody.
package findings

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// Place is what a finding is about: a listener, a backend, or a UDP socket of a server.
type Place struct {
	Server   string `json:"server"`
	Address  string `json:"address,omitempty"`
	Upstream string `json:"upstream,omitempty"`
}

// Evidence is what was seen of one place.
type Evidence struct {
	Place
	During time.Duration // between two looks at what is counted
	stats.Totals

	QuickAck string // the mode, or why it is off
	Reason   string
	Options  []options.Effect

	Trap, Fix string // why it lacks options by mistake, and what adds them

	DroppedDatagrams uint32
	RecvBuffer       int64 // of a UDP socket, as getsockopt(2) reads it
}

// System is what fixes depend on. Its functions are asked when there is something to fix.
type System struct {
	Sysctl        func(name string) string
	HasCapability func(name string) bool
}

// Finding is what is wrong at one place. A note is the same without a fix of ours.
type Finding struct {
	Name string `json:"finding"`
	Place
	Evidence string `json:"evidence"`
	Cost     string `json:"cost"`
	Fix      string `json:"fix,omitempty"` // a line of a Caddyfile, or a sysctl
	Check    string `json:"check"`         // how to see that the fix helped
}

// row is one finding. see returns the evidence, empty where there is none, and the fix.
type row struct {
	name, cost, check string
	see               func(e *Evidence, s System) (evidence, fix string)
}

// In finds what is wrong.
func In(evidence []Evidence, s System) (found, notes []Finding) {
	return apply(rows, evidence, s), apply(noteRows, evidence, s)
}

func apply(rows []row, evidence []Evidence, s System) []Finding {
	found := []Finding{}
	for _, r := range rows {
		for i := range evidence {
			if seen, fix := r.see(&evidence[i], s); seen != "" {
				found = append(found, Finding{r.name, evidence[i].Place, seen, r.cost, fix, r.check})
			}
		}
	}
	return found
}

// Every is the time between two looks of a running configuration.
var Every = time.Minute

// Fewer of these in a look are chance.
const fewest = 10

// rows are the findings, those that cost most first.
var rows = []row{
	{
		"uncovered", "no option holds there, and clients with Nagle's algorithm on wait 40 ms",
		"GET /sockopt/ has the address under listeners",
		func(e *Evidence, _ System) (string, string) {
			if e.Trap == "" {
				return "", ""
			}
			return "the server has no listener wrapper sockopt, and others have: " + e.Trap, e.Fix
		},
	},
	{
		"accept_queue_overflows", "a client whose connection is dropped tries again after 1 s, then after 2 s more",
		"caddy_sockopt_dropped_connections_total stays as it is",
		func(e *Evidence, s System) (string, string) {
			if e.Dropped == 0 || e.Queue == nil {
				return "", ""
			}
			// Twice what there was room for, and room for all that came.
			backlog := powerOfTwo(max(2*int64(e.Queue.Limit), int64(e.Queue.Limit)+int64(e.Dropped))) //nolint:gosec // a counter
			backlog = min(backlog, 65535)
			most := s.number("net.core.somaxconn")
			fix := fmt.Sprintf("listener_wrappers { sockopt { backlog %d } }", backlog)
			if most < backlog {
				fix += fmt.Sprintf("; sysctl -w net.core.somaxconn=%d", backlog)
			}
			return fmt.Sprintf("%d connections dropped in %s; %d of %d wait now; net.core.somaxconn is %d",
				e.Dropped, e.During, e.Queue.Connections, e.Queue.Limit, most), fix
		},
	},
	{
		"datagrams_dropped", "clients of HTTP/3 send again, and send slower for a while",
		"caddy_sockopt_dropped_datagrams_total stays as it is",
		func(e *Evidence, s System) (string, string) {
			if e.DroppedDatagrams < fewest {
				return "", ""
			}
			// The kernel has doubled what was set, and counts 2,304 bytes for a datagram of QUIC.
			buffer := powerOfTwo(max(e.RecvBuffer, e.RecvBuffer/2+int64(e.DroppedDatagrams)*2304/2))
			buffer = min(max(buffer, 8<<20), 64<<20) // quic-go asks for 7 MiB
			most := s.number("net.core.rmem_max")
			fix := fmt.Sprintf("packet_conn_wrappers { sockopt { recv_buffer %s } }", options.Size(buffer))
			capability := "held"
			if !s.HasCapability("CAP_NET_ADMIN") {
				capability = "not held"
				if most < buffer {
					fix += fmt.Sprintf("; sysctl -w net.core.rmem_max=%d", buffer)
				}
			}
			return fmt.Sprintf("%d datagrams dropped in %s; the receive buffer has %d bytes with the kernel's bookkeeping; net.core.rmem_max is %d; CAP_NET_ADMIN is %s",
				e.DroppedDatagrams, e.During, e.RecvBuffer, most, capability), fix
		},
	},
}

// noteRows are notes: what they show has no fix here.
var noteRows = []row{
	{
		"client_windows_limit", "nothing here helps: the programs of these peers read slowly, or their receive buffers are small",
		"limited_by of GET /sockopt/connections has other values than peer_window",
		func(e *Evidence, _ System) (string, string) {
			if e.Busy < time.Second || e.PeerWindow < e.Busy/2 {
				return "", ""
			}
			return fmt.Sprintf("the peers' windows were closed for %s of the %s in which %d open connections had something to send",
				short(e.PeerWindow), short(e.Busy), e.Open), ""
		},
	},
}

// short returns a time for people.
func short(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

// number returns a sysctl that is a number, 0 where it cannot be read.
func (s System) number(name string) (n int64) {
	_, _ = fmt.Sscan(s.Sysctl(name), &n)
	return n
}

// powerOfTwo returns the first power of two that is not smaller.
func powerOfTwo(n int64) int64 { return 1 << bits.Len64(uint64(max(n, 1)-1)) } //nolint:gosec // positive
