package integration_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestAcceptQueue fills the queue of a Caddy that does not run.
func TestAcceptQueue(t *testing.T) {
	addr := lab.Address(t)
	global, site := lab.Wrappers("sockopt"+lab.Block("backlog 4")), lab.EchoSite(addr)
	c := lab.Spawn(t, global, site)
	labels := `{address="[::]:` + lab.PortOf(addr) + `",server="srv0"}`
	metric := func(name string) float64 {
		value, ok := c.Metric(name, strings.Trim(labels, "{}"))
		require.True(t, ok, name)
		return value
	}
	require.Zero(t, metric("accept_queue_connections"))
	require.InDelta(t, 4, metric("accept_queue_limit"), 0)
	require.Zero(t, metric("dropped_connections_total"))

	resume := suspend(t, c.PID)
	clients := make([]int, 12)
	for i := range clients {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		port, err := strconv.Atoi(lab.PortOf(addr))
		require.NoError(t, err)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != unix.EINPROGRESS {
			require.NoError(t, err)
		}
		clients[i] = fd
	}
	resume()
	var dropped float64
	require.Eventually(t, func() bool {
		dropped = metric("dropped_connections_total")
		return dropped > 0 && metric("accept_queue_connections") == 0
	}, lab.Patience, 10*time.Millisecond)
	require.InDelta(t, dropped, statusOf(t, c).listener(t, lab.PortOf(addr)).AcceptQueue.Dropped, 0)

	// Another configuration has another socket, and counts on.
	c.Reload(strings.Replace(global, "4", "9", 1), site)
	require.Eventually(t, func() bool { return metric("accept_queue_limit") == 9 }, lab.Patience, 10*time.Millisecond)
	require.GreaterOrEqual(t, metric("dropped_connections_total"), dropped)
}
