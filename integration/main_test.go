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

// causes are the findings that tests cause in processes of their own. What else is found there
// fails the test.
var causes = map[string][]string{
	"TestAcceptQueue":                    {"accept_queue_overflows"},
	"TestFindAcceptQueue":                {"accept_queue_overflows"},
	"TestFindDatagrams":                  {"datagrams_dropped"},
	"TestFindDatagramsWithoutCapability": {"datagrams_dropped"},
	"TestFindingsWhileCaddyExits":        {"uncovered"},
	"TestFindLoss":                       {"loss", "accept_queue_overflows"},
	"TestFindLossInQueues":               {"loss", "accept_queue_overflows"},
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

	// Losses drop connections in handshakes, and other tests overflow queues beside it: the kernel
	// counts overflows for all sockets together.
	"TestConnectTime":     {"accept_queue_overflows"},
	"TestFaults":          {"accept_queue_overflows"},
	"TestLimitedByPath":   {"accept_queue_overflows"},
	"TestPeersOverPath":   {"accept_queue_overflows"},
	"TestProbeBehindPath": {"accept_queue_overflows"},
	"TestProbePath":       {"accept_queue_overflows"},
	"TestStallOverPath":   {"accept_queue_overflows"},

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
	lab.Main(m, func() {
		if every, err := time.ParseDuration(os.Getenv(lab.LookEvery)); err == nil {
			findings.Every = every
		}
		caddycmd.Main()
	})
}
