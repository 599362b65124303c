package findings

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// TestFixesBySystem: what to set depends on sysctls, capabilities and what the kernel offers.
func TestFixesBySystem(t *testing.T) {
	sysctls := map[string]string{
		"net.core.somaxconn": "4096", "net.core.rmem_max": "212992", "net.ipv4.tcp_wmem": "4096 16384 4194304",
		"net.ipv4.tcp_available_congestion_control": "reno cubic",
		"net.ipv4.ip_local_port_range":              "1024 65535", "net.ipv4.tcp_tw_reuse": "1",
	}
	system := System{func(name string) string { return sysctls[name] }, func(string) bool { return false }, func(string) int { return 5 }}
	at := stats.Found{Server: "srv0", Address: "[::]:443"}
	to := stats.Found{Server: "srv0", Upstream: "127.0.0.1:9000"}
	queues := stats.Totals{}
	queues.Lost = stats.Losses{Sent: 1000, Retransmitted: 20, RTT: 300 * time.Millisecond, MinRTT: 100 * time.Millisecond}
	full := stats.Totals{}
	full.Busy, full.SendBuffer = time.Minute, 30*time.Second
	for _, test := range []struct {
		name string
		Evidence
		fix string
	}{
		{
			"accept_queue_overflows",
			Evidence{Found: at, Totals: stats.Totals{Dropped: 100, Queue: &stats.AcceptQueue{Limit: 4096}}, Overflows: 1000},
			"listener_wrappers { sockopt { backlog 8192 } }; sysctl -w net.core.somaxconn=8192",
		},
		{
			"datagrams_dropped",
			Evidence{Found: at, DroppedDatagrams: 100, RecvBuffer: 425984},
			"packet_conn_wrappers { sockopt { recv_buffer 8MiB } }; sysctl -w net.core.rmem_max=8388608",
		},
		{"send_buffer_limits", Evidence{Found: at, Totals: full}, `sysctl -w net.ipv4.tcp_wmem="4096 16384 8388608"`},
		{"loss", Evidence{Found: to, Totals: queues}, "modprobe tcp_bbr; transport sockopt { socket { congestion bbr; notsent_lowat 128KiB } }"},
		{"quickack_has_no_effect", Evidence{Found: to, QuickAck: "auto", Totals: stats.Totals{Connections: 20, Multipath: 10}}, "transport sockopt { socket { multipath off } }"},
		{
			"source_ports_run_out",
			Evidence{Found: to, Totals: stats.Totals{Connections: 20, NoPort: 20}, Options: []options.Effect{{Option: "local_port_range", Requested: "40000-40019"}}},
			"remove the line local_port_range 40000-40019",
		},
		{
			"source_ports_run_out",
			Evidence{Found: to, Totals: stats.Totals{Connections: 20, NoPort: 20}},
			"reverse_proxy …, with another address of the backend",
		},
		{"peers_wait", Evidence{Found: to, QuickAck: "off", Totals: stats.Totals{Stalled: 10, Received: 100}}, "transport sockopt { socket { quickack auto } }"},
	} {
		found, _ := In([]Evidence{test.Evidence}, system)
		require.Len(t, found, 1, test.name)
		test.Found.Name = test.name
		require.Equal(t, test.Found, found[0].Found)
		require.Equal(t, test.fix, found[0].Fix)
	}
}

// TestFewAreChance: what is below a bound is no finding.
func TestFewAreChance(t *testing.T) {
	lossy := stats.Totals{OpenTotals: stats.OpenTotals{Vanished: 9}}
	lossy.Lost = stats.Losses{Sent: 1000, Retransmitted: 19, RTT: 1, MinRTT: 1}
	lossy.Busy, lossy.SendBuffer = time.Minute, 5*time.Second
	found, notes := In([]Evidence{
		{DroppedDatagrams: 9},
		{Totals: stats.Totals{Dropped: 1000, Queue: &stats.AcceptQueue{Limit: 4096}}},
		{QuickAck: "auto", Totals: stats.Totals{Connections: 1000, Multipath: 49, Unreachable: 49}},
		{QuickAck: "off", Totals: stats.Totals{Stalled: 9, Received: 9, Multipath: 100}},
		{QuickAck: "off", Totals: stats.Totals{Stalled: 10, Received: 101}},
		{QuickAck: "auto", Totals: stats.Totals{Stalled: 100, Received: 100}},
		{Totals: lossy},
	}, System{})
	require.Empty(t, append(found, notes...))
}
