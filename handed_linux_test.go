package sockopt

import (
	"encoding/json"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/needed"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestHanded holds connections to their options while the wrapper learns which of
// them need not be set, and afterwards.
func TestHanded(t *testing.T) {
	lines := []string{
		"nodelay on", "delayed_ack_max 100ms", "notsent_lowat 128KiB", "recv_buffer 100KiB", "send_buffer 100KiB",
		"pacing_rate 64MiB", "thin_stream on", "keepalive on", "keepalive_idle 15s", "keepalive_interval 7s", "user_timeout 30s",
		"linger 0s", "fin_timeout 7s", "rto_min 100ms", "rto_max 5s", "dscp af11", "ttl 33",
	}
	for _, tt := range []struct {
		name   string
		mptcp  bool
		left   []string
		client []bool // whether they speak MPTCP
	}{
		{"plain", false, []string{"keepalive_interval", "dscp"}, []bool{false}},
		{"MPTCP", true, []string{
			"delayed_ack_max", "notsent_lowat", "pacing_rate", "thin_stream", "keepalive_interval", "user_timeout",
			"linger", "fin_timeout", "rto_min", "rto_max", "dscp", "ttl",
		}, []bool{false, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := new(ListenerWrapper)
			require.NoError(t, unmarshal(w, "sockopt"+block(lines...)))
			w, _ = provisioned(t, w.Options)
			w.server = new(caddyhttp.Server)
			var config net.ListenConfig
			config.SetMultipathTCP(tt.mptcp)
			inner, err := config.Listen(t.Context(), "tcp", ":0")
			require.NoError(t, err)
			t.Cleanup(func() { inner.Close() })
			if tcp, _ := socket.TCPListener(inner); tt.mptcp != socket.SpeaksMPTCP(tcp) {
				needed.Missing(t, "this system has no MPTCP")
			}
			_, port, err := net.SplitHostPort(inner.Addr().String())
			require.NoError(t, err)
			connect := func(mptcp bool, host string) net.Conn {
				var dialer net.Dialer
				dialer.SetMultipathTCP(mptcp)
				conn, err := dialer.Dial("tcp", net.JoinHostPort(host, port))
				require.NoError(t, err)
				return conn
			}
			var early []net.Conn
			for range 3 {
				early = append(early, connect(false, "127.0.0.1"))
			}
			outer := w.WrapListener(inner).(*listener)
			require.EqualValues(t, len(early)+inTheMaking, outer.handed.early.Load())
			accepted := func(client net.Conn, speaksMPTCP bool) {
				defer client.Close()
				conn, err := outer.Accept()
				require.NoError(t, err)
				defer conn.Close()
				tcp, ok := socket.TCPConn(conn)
				require.True(t, ok)
				require.Equal(t, speaksMPTCP, socket.SpeaksMPTCP(tcp))
				lacking, err := socket.Lacking(tcp, w.settings.of[accept])
				require.NoError(t, err)
				for _, s := range lacking {
					refused, err := socket.Set(tcp, []socket.Setting{s})
					require.NoError(t, err)
					require.True(t, speaksMPTCP && len(refused) > 0, "%s was not set", s.Option.Name)
				}
			}
			for _, client := range early {
				accepted(client, false)
			}
			for range inTheMaking {
				accepted(connect(false, "127.0.0.1"), false)
			}
			require.Nil(t, outer.handed.left.Load())
			if tt.mptcp {
				accepted(connect(true, "127.0.0.1"), true)
				require.Nil(t, outer.handed.left.Load(), "learned from an MPTCP connection")
			}
			accepted(connect(false, "127.0.0.1"), false)
			require.NotNil(t, outer.handed.left.Load())
			var left []string
			for _, s := range *outer.handed.left.Load() {
				left = append(left, rowOf(s.Option).name)
			}
			require.Equal(t, tt.left, left)
			for _, host := range []string{"127.0.0.1", "::1"} {
				for _, mptcp := range tt.client {
					accepted(connect(mptcp, host), mptcp)
				}
			}
		})
	}
}

// TestHandedNot holds the wrapper to setting everything where listening sockets
// are shared with other configurations.
func TestHandedNot(t *testing.T) {
	w := new(ListenerWrapper)
	require.NoError(t, unmarshal(w, "sockopt"+block("nodelay on", "recv_buffer 100KiB", "user_timeout 30s", "keepalive_idle 30s", "keepalive_interval 7s")))
	w, _ = provisioned(t, w.Options)
	for _, server := range []*caddyhttp.Server{{Listen: []string{":80"}}, {Listen: []string{"fd/3"}}, nil} {
		w.server = server
		shared := server == nil || server.Listen[0] == "fd/3"
		var config net.ListenConfig
		config.SetMultipathTCP(false)
		ln, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		tcp, _ := socket.TCPListener(ln)
		h := w.hand(tcp)
		named := slices.Collect(func(yield func(string) bool) {
			for _, s := range h.given {
				if !yield(rowOf(s.Option).name) {
					return
				}
			}
		})
		timeout, err := socket.Get(tcp, socket.UserTimeout)
		require.NoError(t, err)
		require.NoError(t, ln.Close())
		if shared {
			require.Equal(t, []string{"nodelay", "keepalive_idle", "keepalive_interval"}, named)
			require.Zero(t, timeout.Number)
			continue
		}
		require.Equal(t, []string{"nodelay", "recv_buffer", "keepalive_interval", "keepalive_idle", "user_timeout"}, named)
		require.EqualValues(t, 30000, timeout.Number)
	}
}

// TestTellGo: Go sets keepalive on connections unless it is certain that the wrapper
// does, or the kernel.
func TestTellGo(t *testing.T) {
	w := new(ListenerWrapper)
	require.NoError(t, unmarshal(w, "sockopt"+block("keepalive_idle 30s", "keepalive_count 4")))
	w, _ = provisioned(t, w.Options)
	for _, test := range []struct {
		name, address string
		wrappers      []string
		idle          caddy.Duration
		count         int
	}{
		{"first", ":80", []string{"sockopt", "tls"}, -caddy.Duration(time.Second), -1},
		{"behind another", ":80", []string{"proxy_protocol", "sockopt"}, caddy.Duration(30 * time.Second), 4},
		{"inherited", "fd/3", []string{"sockopt", "tls"}, caddy.Duration(30 * time.Second), 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.server = &caddyhttp.Server{Listen: []string{test.address}}
			for _, name := range test.wrappers {
				w.server.ListenerWrappersRaw = append(w.server.ListenerWrappersRaw, json.RawMessage(`{"wrapper":"`+name+`"}`))
			}
			w.tellGo()
			require.Equal(t, test.idle, w.server.KeepAliveIdle)
			require.Equal(t, test.count, w.server.KeepAliveCount)
		})
	}
}
