// Package integration_test runs a Caddy with this plugin, in this process or in one of its
// own, and looks at it from outside: at what clients and backends receive, at the sockets
// in the kernel, at system calls and segments, at the admin API, the metrics and the log.
package integration_test

import (
	"os"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddy-sockopt/caddy-sockopt"
	"github.com/caddy-sockopt/caddy-sockopt/internal/findings"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// inside is the environment variable of a process that has a network namespace of its own.
const inside = "SOCKOPT_ISOLATED"

// causes are the findings that tests cause in processes of their own. What else is found there
// fails the test.
var causes = map[string][]string{
	"TestAcceptQueue":                    {"accept_queue_overflows"},
	"TestFindAcceptQueue":                {"accept_queue_overflows"},
	"TestFindDatagrams":                  {"datagrams_dropped"},
	"TestFindDatagramsWithoutCapability": {"datagrams_dropped"},
	"TestFindingsWhileCaddyExits":        {"uncovered"},
	"TestFindLoss":                       {"loss"},
	"TestFindLossInQueues":               {"loss"},
	"TestFindOptions":                    {"option_not_in_effect"},
	"TestFindPeersThatWait":              {"peers_wait"},
	"TestFindPortsInTimeWait":            {"source_ports_run_out"},
	"TestFindSendBuffer":                 {"send_buffer_limits"},
	"TestFindSendBufferSysctl":           {"send_buffer_limits"},
	"TestFindSourcePorts":                {"source_ports_run_out"},
	"TestHTTP3Drops":                     {"datagrams_dropped"},

	// Clients wait where quickack is off.
	"TestProbe":                            {"peers_wait"},
	"TestProbeAdvice":                      {"peers_wait"},
	"TestStallsAreCounted":                 {"peers_wait"},
	"TestStallsOfNewConnectionsAreCounted": {"peers_wait"},

	// Their paths lose packets, or are longer than a buffer.
	"TestLimitedByPath":   {"loss", "send_buffer_limits"},
	"TestPeersOverPath":   {"loss"},
	"TestProbeBehindPath": {"loss"},
	"TestProbePath":       {"loss"},
	"TestStallOverPath":   {"loss"},

	// They compare a server with the wrapper to one without it.
	"TestAcceptCounts":              {"uncovered", "option_not_in_effect"}, // fastopen, which net.ipv4.tcp_fastopen leaves out
	"TestCork":                      {"uncovered"},
	"TestCountsOfNewTLSConnections": {"uncovered"},
	"TestCountsOfStreams":           {"uncovered"},
	"TestPrograms":                  {"uncovered"},
	"TestTCPInfoCounts":             {"uncovered"},

	"TestConnectionsToSeveralBackendsShareLocalPorts": {"option_not_in_effect", "source_ports_run_out"}, // a range outside of the kernel's
	"TestHTTP3WithoutCapability":                      {"option_not_in_effect"},                         // recv_buffer, which is clamped
	"TestMemoryOfIdleConnections":                     {"option_not_in_effect"},                         // window_clamp
}

// measured are tests of what Caddy needs. It looks once a minute there: a look needs something, too.
var measured = []string{"TestLookCosts", "TestManyListeners", "TestMemoryOfIdleConnections"}

func TestMain(m *testing.M) {
	lab.Causes, lab.Measured = causes, measured
	if os.Getenv(inside) == "" {
		// The kernel counts overflows of all accept queues of a namespace together.
		lab.Causes["*"] = []string{"accept_queue_overflows"}
	}
	lab.Main(m, func() {
		if every, err := time.ParseDuration(os.Getenv(lab.LookEvery)); err == nil {
			findings.Every = every
		}
		caddycmd.Main()
	})
}
