package sockopt

import (
	"encoding/json"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// serverWith is a server with listener wrappers of these names.
func serverWith(wrappers ...string) *server {
	s := new(caddyhttp.Server)
	for _, name := range wrappers {
		s.ListenerWrappersRaw = append(s.ListenerWrappersRaw, json.RawMessage(`{"wrapper":"`+name+`"}`))
	}
	return &server{Server: s}
}

// TestAdoptKeepAlive: Go sets keepalive on each connection, so it gets the values of
// the wrapper and leaves inherited ones alone.
func TestAdoptKeepAlive(t *testing.T) {
	const second = caddy.Duration(time.Second)
	settings := []socket.Setting{to(socket.KeepAliveIdle, 30), to(socket.KeepAliveInterval, 7), to(socket.KeepAliveCount, 4), to(socket.TTL, 9)}
	for _, test := range []struct {
		name                string
		interval            caddy.Duration // of the server
		settings            []socket.Setting
		onListener          bool
		wantIdle, wantEvery caddy.Duration
		wantCount           int
	}{
		{"on the listening socket", 0, settings, true, -1, 7 * second, -1},
		{"on each connection", 0, settings, false, 30 * second, 7 * second, 4},
		{"interval alone", 0, settings[1:2], true, 0, 7 * second, 0},
		{"idle alone", 0, settings[:1], true, -1, 0, 0},
		{"none", 0, nil, true, 0, 0, 0},
		{"switched off", -1, settings, true, 0, -1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serverWith()
			s.KeepAliveInterval = test.interval
			s.adoptKeepAlive(test.settings, test.onListener)
			require.Equal(t, test.wantIdle, s.KeepAliveIdle)
			require.Equal(t, test.wantEvery, s.KeepAliveInterval)
			require.Equal(t, test.wantCount, s.KeepAliveCount)
			config := s.listenConfig().KeepAliveConfig
			require.Equal(t, test.interval >= 0, config.Enable)
			require.Equal(t, time.Duration(test.wantIdle), config.Idle)
			require.Equal(t, time.Duration(test.wantEvery), config.Interval)
			require.Equal(t, test.wantCount, config.Count)
		})
	}
}

func TestWrappers(t *testing.T) {
	for _, test := range []struct {
		wrappers []string
		hiddenBy string
	}{
		{[]string{"sockopt"}, ""},
		{[]string{"sockopt", "plugin", "tls"}, ""},
		{[]string{"tls", "proxy_protocol", "http_redirect", "sockopt"}, ""},
		{[]string{"tls", "plugin", "sockopt"}, "plugin"},
	} {
		s := serverWith(test.wrappers...)
		require.Equal(t, test.hiddenBy, s.hiddenBy(), test.wrappers)
	}
}

func TestSharesListeners(t *testing.T) {
	alone := runtime.GOOS == "linux" && (socket.Sysctl("net.ipv4.tcp_migrate_req") == "" || socket.Sysctl("net.ipv4.tcp_migrate_req") == "0")
	for address, shared := range map[string]bool{
		":80":              !alone,
		"127.0.0.1:80":     !alone,
		"tcp6/[::1]:80":    !alone,
		"unix//tmp/socket": !alone,
		"fd/3":             true,
	} {
		s := serverWith()
		s.Listen = []string{":81", address}
		require.Equal(t, shared, s.sharesListeners(), address)
	}
}

// TestNoServer: other apps have listeners, too.
func TestNoServer(t *testing.T) {
	s, _ := newServer(t, nil)
	require.Empty(t, s.Name())
	require.True(t, s.sharesListeners())
}
