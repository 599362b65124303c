package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
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
	require.InDelta(t, dropped, *statusOf(t, c).listener(t, lab.PortOf(addr)).AcceptQueue.Dropped, 0)

	// Another configuration has another socket, and counts on.
	c.Reload(strings.Replace(global, "4", "9", 1), site)
	require.Eventually(t, func() bool { return metric("accept_queue_limit") == 9 }, lab.Patience, 10*time.Millisecond)
	require.GreaterOrEqual(t, metric("dropped_connections_total"), dropped)
}

// TestManyListeners: four times the listening sockets (2,000 and 500 in the long form) cost at
// most six times the CPU time, of a load, a reload that moves half of them, an unload, and of the answers of the admin
// API. Loads, reloads and unloads cost at most twice Caddy's own, and as much the last
// time as the first.
func TestManyListeners(t *testing.T) {
	for _, godebug := range []string{"multipathtcp=1", "multipathtcp=0"} {
		t.Run(godebug, func(t *testing.T) {
			t.Setenv("GODEBUG", godebug)
			c := lab.Spawn(t, "", "")
			port := lab.PortOf(lab.Address(t))
			config := func(wrapper string, first, n int) string {
				addresses := make([]string, n)
				for i := range addresses {
					addresses[i] = fmt.Sprintf("127.3.%d.%d:%s", (first+i)/200, 1+(first+i)%200, port)
				}
				listen, err := json.Marshal(addresses)
				require.NoError(t, err)
				return fmt.Sprintf(`{"admin": {"listen": %q}, "apps": {"http": {"servers": {"srv0": {"listen": %s, "listener_wrappers": [%s]}}}}}`,
					c.Admin, listen, wrapper)
			}
			// measure returns the CPU time of each step.
			measure := func(wrapper string, n int) map[string]time.Duration {
				took := make(map[string]time.Duration)
				for _, step := range []struct{ name, method, path, body string }{
					{"load", http.MethodPost, "/load", config(wrapper, 0, n)},
					{"metrics", http.MethodGet, "/metrics", ""},
					{"status", http.MethodGet, "/sockopt/", ""},
					{"reload", http.MethodPost, "/load", config(wrapper, n/2, n)},
					{"unload", http.MethodPost, "/load", fmt.Sprintf(`{"admin": {"listen": %q}}`, c.Admin)},
				} {
					before := lab.CPU(c.PID)
					status, answer := c.API(step.method, step.path, "application/json", step.body)
					require.Equal(t, http.StatusOK, status, answer)
					took[step.name] = lab.CPU(c.PID) - before
				}
				return took
			}
			few := lab.Long(125, 500)
			many := 4 * few
			const growth = 6
			const sopt = `{"wrapper": "sockopt", "user_timeout": "30s"}`
			require.NoError(t, thrice(func() error { // another program may slow one of them down
				stock, ofFew, ofMany := measure("", many), measure(sopt, few), measure(sopt, many)
				t.Logf("stock: %v, %d: %v, %d: %v", stock, few, ofFew, many, ofMany)
				for step, took := range ofMany {
					// A short step may be without the garbage collection that a long one has.
					if took >= growth*max(ofFew[step], 20*time.Millisecond) {
						return fmt.Errorf("%s takes %v with %d sockets, %v with %d", step, ofFew[step], few, took, many)
					}
				}
				for _, step := range []string{"load", "reload", "unload"} {
					if ofMany[step] >= 2*stock[step]+50*time.Millisecond {
						return fmt.Errorf("%s takes %v, Caddy's own %v", step, ofMany[step], stock[step])
					}
				}
				return nil
			}))

			// Half of the addresses move each time.
			reloads := lab.Long(10, 50)
			spent := make([]time.Duration, 2) // in the first fifth of the reloads, and in the last
			for n := range reloads {
				before := lab.CPU(c.PID)
				status, answer := c.Load("application/json", config(sopt, n*few/2, few))
				require.Equal(t, http.StatusOK, status, answer)
				switch n / (reloads / 5) {
				case 0:
					spent[0] += lab.CPU(c.PID) - before
				case 4:
					spent[1] += lab.CPU(c.PID) - before
				}
			}
			t.Logf("%d reloads: %v", reloads, spent)
			require.Less(t, spent[1], 2*spent[0], "reloads become no slower")
			require.Len(t, statusOf(t, c).Listeners, few)
		})
	}
}
