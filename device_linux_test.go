package sockopt

import (
	"net"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// withoutNetRaw runs f on a thread without CAP_NET_RAW.
func withoutNetRaw(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // which ends with this goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		err := unix.Capget(&header, &sets[0])
		sets[0].Effective &^= 1 << unix.CAP_NET_RAW
		if err == nil {
			err = unix.Capset(&header, &sets[0])
		}
		f()
		done <- err
	}()
	require.NoError(t, <-done)
}

// TestBoundSockets: a socket is bound again to a device that was deleted and made again,
// at the next look. What happens is logged once.
func TestBoundSockets(t *testing.T) {
	n := lab.NewTestNamespace(t)
	ip := func(args ...string) {
		t.Helper()
		n.Do(func() {
			require.NoError(t, exec.CommandContext(t.Context(), lab.Require(t, "ip"), args...).Run(), "ip %v", args)
		})
	}
	const device = "device0"
	plug := func() { ip("link", "add", device, "type", "veth", "peer", "name", "device1") }
	plug()
	ln, err := n.Listen()
	require.NoError(t, err)
	defer ln.Close()
	tcp := ln.(*net.TCPListener)
	settings := []socket.Setting{{Option: socket.Interface, Value: socket.Value{Text: device}}}
	refused, err := socket.Set(tcp, settings)
	require.NoError(t, err)
	require.Empty(t, refused)

	core, logs := observer.New(zap.DebugLevel)
	l := boundSocketList{all: make(map[syscall.Conn]*boundSocket)}
	l.follow(tcp, zap.New(core))
	logged := func() (messages []string) {
		for _, entry := range logs.TakeAll() {
			require.Equal(t, device, entry.ContextMap()["interface"])
			messages = append(messages, entry.Level.String()+": "+entry.Message)
		}
		return messages
	}
	l.look()
	require.Empty(t, logged())

	ip("link", "delete", device)
	l.look()
	l.look()
	require.Equal(t, []string{zapcore.WarnLevel.String() + ": the network interface does not exist any more; the socket receives nothing until it is back"}, logged())

	plug()
	withoutNetRaw(t, l.look)
	withoutNetRaw(t, l.look)
	require.Equal(t, []string{"error: the network interface is back, and binding a socket to it again needs CAP_NET_RAW; reload with --force, for HTTP/3 restart Caddy"}, logged())

	l.look()
	require.Equal(t, []string{"info: the network interface is back; the socket is bound to it again"}, logged())
	now, err := socket.Get(tcp, socket.Interface)
	require.NoError(t, err)
	require.Equal(t, device, now.Text)

	require.NoError(t, ln.Close())
	l.look()
	require.Empty(t, l.all)
	require.Empty(t, logged())
}
