package findings

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// Fewer of these in a look are chance.
const fewest = 10

// rows are the findings, those that cost most first, and the notes.
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
			dropped := min(e.Dropped, e.Overflows) // others were half-open, and no queue was full
			if dropped == 0 || e.Queue == nil {
				return "", ""
			}
			// Twice what there was room for, and room for all that came.
			backlog := powerOfTwo(max(2*int64(e.Queue.Limit), int64(e.Queue.Limit)+int64(dropped))) //nolint:gosec // a counter
			backlog = min(backlog, 65535)
			most := s.number("net.core.somaxconn")
			fix := fmt.Sprintf("listener_wrappers { sockopt { backlog %d } }", backlog)
			if most < backlog {
				fix += fmt.Sprintf("; sysctl -w net.core.somaxconn=%d", backlog)
			}
			return fmt.Sprintf("%d connections dropped in %s; %d of %d wait now; net.core.somaxconn is %d",
				dropped, e.During, e.Queue.Connections, e.Queue.Limit, most), fix
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
	{
		"quickack_has_no_effect", "clients with Nagle's algorithm on wait 40 ms, as without the wrapper",
		"GET /sockopt/ has no quickack_reason, and caddy_sockopt_option_errors_total stays as it is",
		func(e *Evidence, _ System) (string, string) {
			most := max(e.Connections/20, fewest)
			switch {
			case e.Reason != "":
				return e.Reason, "listener_wrappers { sockopt … }, with sockopt before the others"
			case e.Unreachable >= most:
				return fmt.Sprintf("%d of %d connections in %s hide their socket behind another wrapper", e.Unreachable, e.Connections, e.During),
					"listener_wrappers { sockopt … }, with sockopt before the others"
			case e.Multipath >= most && e.QuickAck != "off":
				return fmt.Sprintf("%d of %d connections in %s spoke MPTCP, which refuses quickack", e.Multipath, e.Connections, e.During),
					e.block("multipath off")
			}
			return "", ""
		},
	},
	{
		"peers_wait", "40 ms for each of these waits",
		"caddy_sockopt_suspected_stalls_total stays as it is; caddy_sockopt_prevented_waits_total grows",
		func(e *Evidence, _ System) (string, string) {
			// A request or a response is a segment at least.
			if e.QuickAck != "off" || e.Reason != "" || e.Stalled < fewest || int64(e.Stalled)*10 < e.Received { //nolint:gosec // a counter
				return "", ""
			}
			return fmt.Sprintf("%d suspected stalls in %s, among %d segments with data from peers; quickack is off", e.Stalled, e.During, e.Received),
				e.block("quickack auto")
		},
	},
	{
		"option_not_in_effect", "what the option is for",
		"GET /sockopt/ shows it without clamped_by, left_out and no_effect",
		func(e *Evidence, _ System) (evidence, fix string) {
			for _, o := range e.Options {
				line := o.Option + " " + o.Requested
				switch {
				case o.LeftOut != "":
					evidence, fix = and(evidence, "left out: "+o.LeftOut), and(fix, "repair that, or remove the line "+line)
				case o.NoEffect != "":
					evidence, fix = and(evidence, line+" has no effect"), and(fix, o.NoEffect)
				case o.ClampedBy == "the kernel":
					evidence, fix = and(evidence, line+" is "+o.Effective), and(fix, o.Option+" "+o.Effective)
				case o.ClampedBy != "":
					n, _ := options.ParseSize(o.Requested)
					evidence = and(evidence, fmt.Sprintf("%s is %s, clamped by %s", line, o.Effective, o.ClampedBy))
					fix = and(fix, fmt.Sprintf("sysctl -w %s=%d, and load the configuration again", o.ClampedBy, n))
				}
			}
			return evidence, fix
		},
	},
	{
		"http3_passes_by", "clients of HTTP/3 are not held to it",
		"the finding is gone when the configuration is loaded",
		func(e *Evidence, _ System) (evidence, fix string) {
			for _, option := range e.PassedBy {
				line := option + " " + e.requested(option)
				switch option {
				case "pacing_rate":
					fix = and(fix, "sockopt { "+line+" } in the site, too")
				case "dscp":
					fix = and(fix, "packet_conn_wrappers { sockopt { "+line+" } }")
				default:
					continue
				}
				evidence = and(evidence, line+" of the listener wrapper does not hold over HTTP/3, which the server has")
			}
			return evidence, fix
		},
	},
	{
		"send_buffer_limits", "downloads are slower than their paths",
		"caddy_sockopt_sndbuf_limited_seconds_total grows by less than a tenth of caddy_sockopt_busy_seconds_total",
		func(e *Evidence, s System) (string, string) {
			if e.Busy < time.Second/2 || e.SendBuffer < e.Busy/10 {
				return "", ""
			}
			evidence := fmt.Sprintf("the send buffer was full for %s of the %s in which %d open connections had something to send", short(e.SendBuffer), short(e.Busy), e.Open)
			var least, usual, most int64
			_, _ = fmt.Sscan(s.Sysctl(sendBuffers), &least, &usual, &most)
			if fixed := e.requested("send_buffer"); fixed != "" {
				return evidence + "; send_buffer is " + fixed,
					fmt.Sprintf("remove the line send_buffer %s: the kernel then grows it to %d bytes", fixed, most)
			}
			return fmt.Sprintf("%s; %s is %d %d %d", evidence, sendBuffers, least, usual, most),
				fmt.Sprintf("sysctl -w %s=\"%d %d %d\"", sendBuffers, least, usual, 2*most)
		},
	},
	{
		"loss", "each loss halves the rate of a connection, and a response waits for what is sent again",
		"caddy_sockopt_retransmitted_segments_total grows slower",
		func(e *Evidence, s System) (string, string) {
			evidence := seenLoss(e.Lost)
			if evidence == "" {
				return "", ""
			}
			lines, module := "congestion bbr", ""
			if e.Lost.RTT >= 2*e.Lost.MinRTT { // it lost what a queue had no room for
				lines += "; notsent_lowat 128KiB"
			}
			if !strings.Contains(s.Sysctl("net.ipv4.tcp_available_congestion_control"), "bbr") {
				module = "modprobe tcp_bbr; "
			}
			return evidence + " without bbr", module + e.block(lines)
		},
	},
	{
		"source_ports_run_out", "requests fail with 502",
		"the finding is gone in the next look",
		func(e *Evidence, s System) (string, string) {
			// Without any connection the address has no way there (EADDRNOTAVAIL, too).
			if e.NoPort < fewest || e.Connections == 0 && e.Open == 0 {
				return "", ""
			}
			const name = "net.ipv4.ip_local_port_range"
			ports := s.Sysctl(name)
			evidence := fmt.Sprintf("%d dials in %s found no free source port (EADDRNOTAVAIL), beside %d new and %d open connections; %d sockets that were connected to it are in TIME-WAIT; %s is %s",
				e.NoPort, e.During, e.Connections, e.Open, s.TimeWait(e.Upstream), name, ports)
			if own := e.requested("local_port_range"); own != "" {
				return evidence + "; local_port_range is " + own, "remove the line local_port_range " + own
			}
			switch {
			case ports != "1024 65535":
				return evidence, fmt.Sprintf("sysctl -w %s=\"1024 65535\"", name)
			case s.number("net.ipv4.tcp_tw_reuse") != 1:
				return evidence, "sysctl -w net.ipv4.tcp_tw_reuse=1"
			}
			return evidence, "reverse_proxy …, with another address of the backend"
		},
	},
	{
		"vanished_peers", "each holds a connection and what was sent to it for 15 minutes, until the kernel gives up",
		"the connections with unacked above 0 in GET /sockopt/connections end",
		func(e *Evidence, _ System) (string, string) {
			if e.Vanished < fewest {
				return "", ""
			}
			return fmt.Sprintf("of %d open connections, %d have acknowledged nothing of what they were sent for %s or more", e.Open, e.Vanished, stats.VanishedAfter),
				e.block(fmt.Sprintf("user_timeout %s", stats.VanishedAfter/2))
		},
	},

	// Notes: what they show has no fix here.
	{
		"loss_with_bbr", "what was lost is sent again; the path loses it, and bbr makes the best of that",
		"caddy_sockopt_retransmitted_segments_total grows slower",
		func(e *Evidence, _ System) (string, string) { return seenLoss(e.LostWithBBR), "" },
	},
	{
		"http3_passes_by", "QUIC has a time of its own after which it gives a peer up: 30 s",
		"protocols h1 h2 leaves HTTP/3 out",
		func(e *Evidence, _ System) (string, string) {
			if !slices.Contains(e.PassedBy, "user_timeout") {
				return "", ""
			}
			return "user_timeout " + e.requested("user_timeout") + " of the listener wrapper does not hold over HTTP/3, which the server has", ""
		},
	},
	{
		"client_windows_limit", "nothing here helps: the programs of these peers read slowly, or their receive buffers are small",
		"limited_by of GET /sockopt/connections has other values than peer_window",
		func(e *Evidence, _ System) (string, string) {
			if e.Busy < time.Second/2 || e.PeerWindow < e.Busy/2 {
				return "", ""
			}
			return fmt.Sprintf("the peers' windows were closed for %s of the %s in which %d open connections had something to send",
				short(e.PeerWindow), short(e.Busy), e.Open), ""
		},
	},
}

// short returns a time for people.
func short(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

const sendBuffers = "net.ipv4.tcp_wmem"

// seenLoss says what was lost, where that is one segment in fifty or more.
func seenLoss(l stats.Losses) string {
	if l.Sent < 200 || l.Retransmitted*50 < l.Sent {
		return ""
	}
	queues := "no queues"
	if l.RTT >= 2*l.MinRTT {
		queues = "queues"
	}
	return fmt.Sprintf("%d of %d segments were sent again (%.1f %%), on paths with %s: their round-trip time is %.1f times the least",
		l.Retransmitted, l.Sent, 100*float64(l.Retransmitted)/float64(l.Sent), queues, float64(l.RTT)/float64(max(l.MinRTT, 1)))
}

// and joins what is said of one place.
func and(before, text string) string { return strings.TrimPrefix(before+"; "+text, "; ") }
