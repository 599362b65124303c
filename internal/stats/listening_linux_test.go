package stats

import (
	"fmt"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TestAcceptQueue fills the queue of a listening socket that has two descriptors, as one
// that Caddy was given has while a configuration replaces another.
func TestAcceptQueue(t *testing.T) {
	for _, multipath := range []bool{false, true} {
		t.Run(fmt.Sprintf("MPTCP %v", multipath), func(t *testing.T) {
			config := new(net.ListenConfig)
			config.SetMultipathTCP(multipath)
			opened, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			first := opened.(*net.TCPListener)
			defer first.Close()
			if multipath && !lab.SpeaksMPTCP(t, first) {
				lab.MissingMPTCP(t)
			}
			const limit = 3
			_, err = socket.Set(first, []socket.Setting{{Option: socket.Backlog, Value: socket.Value{Number: limit}}})
			require.NoError(t, err)
			overflow := func() {
				for range 2 * limit {
					fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
					require.NoError(t, err)
					t.Cleanup(func() { unix.Close(fd) })
					port := first.Addr().(*net.TCPAddr).Port
					require.ErrorIs(t, unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}), unix.EINPROGRESS)
				}
			}
			overflow()
			earlier, err := new(socket.Drops).Of(first)
			require.NoError(t, err)
			require.NotZero(t, earlier)

			origin := inNewRegistry(t)
			origin.Direction = Accepted
			c := For(origin)
			require.Nil(t, c.AcceptQueue(new(socket.Drops)))
			closeFirst := c.Listens(first)
			// One more than the limit may wait: sk_acceptq_is_full in include/net/sock.h.
			require.Equal(t, &AcceptQueue{Connections: limit + 1, Limit: limit, Dropped: new(uint64)}, c.AcceptQueue(new(socket.Drops)), "what was dropped before does not count")
			file, err := first.File()
			require.NoError(t, err)
			handedOver, err := net.FileListener(file)
			require.NoError(t, err)
			require.NoError(t, file.Close())
			second := handedOver.(*net.TCPListener)
			closeSecond := c.Listens(second)
			overflow()
			q := c.AcceptQueue(new(socket.Drops))
			require.Equal(t, AcceptQueue{limit + 1, limit, q.Dropped}, *q)
			require.GreaterOrEqual(t, *q.Dropped, uint64(2*limit))

			r := prometheus.NewPedanticRegistry()
			require.NoError(t, Register(r))
			require.NoError(t, RegisterDatagrams(r, func() []Datagrams {
				return []Datagrams{{"srv0", "[::]:443", 3}, {"srv0", "[::]:443", 4}, {"srv1", "[::]:444", 0}}
			}))
			families, err := r.Gather()
			require.NoError(t, err)
			problems, err := promlint.NewWithMetricFamilies(families).Lint()
			require.NoError(t, err)
			require.Empty(t, problems)
			values := make(map[string]float64)
			for _, family := range families {
				for _, m := range family.GetMetric() {
					name := family.GetName()[len(metricPrefix):]
					for _, label := range m.GetLabel() {
						name += " " + label.GetValue()
					}
					values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
			labels := " " + origin.Address + " srv0"
			require.InDelta(t, limit+1, values["accept_queue_connections"+labels], 0)
			require.InDelta(t, limit, values["accept_queue_limit"+labels], 0)
			require.GreaterOrEqual(t, values["dropped_connections_total"+labels], float64(*q.Dropped))
			require.InDelta(t, 7, values["dropped_datagrams_total [::]:443 srv0"], 0)
			require.Contains(t, values, "dropped_datagrams_total [::]:444 srv1")

			closeFirst()
			require.NoError(t, first.Close())
			require.GreaterOrEqual(t, *c.AcceptQueue(new(socket.Drops)).Dropped, *q.Dropped)
			closeSecond()
			closeSecond()
			require.NoError(t, second.Close())
			require.Nil(t, c.AcceptQueue(new(socket.Drops)))

			// The next socket of the origin counts on.
			next, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer next.Close()
			defer c.Listens(next.(*net.TCPListener))()
			require.GreaterOrEqual(t, *c.AcceptQueue(new(socket.Drops)).Dropped, *q.Dropped)
		})
	}
}

// TestDeferredConnectionsAreNotDropped: with TCP_DEFER_ACCEPT the kernel counts each
// connection that waits for its first bytes, so there is no count of dropped ones.
func TestDeferredConnectionsAreNotDropped(t *testing.T) {
	for _, multipath := range []bool{false, true} {
		t.Run(fmt.Sprintf("MPTCP %v", multipath), func(t *testing.T) {
			config := new(net.ListenConfig)
			config.SetMultipathTCP(multipath)
			opened, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			ln := opened.(*net.TCPListener)
			defer ln.Close()
			if multipath && !lab.SpeaksMPTCP(t, ln) {
				lab.MissingMPTCP(t)
			}
			origin := inNewRegistry(t)
			origin.Direction = Accepted
			c := For(origin)
			closing := c.Listens(ln)
			deferFor := func(seconds int64) {
				refused, err := socket.Set(ln, []socket.Setting{{Option: socket.DeferAccept, Value: socket.Value{Number: seconds}}})
				require.NoError(t, err)
				if len(refused) > 0 && !socket.KernelHas("5.19") {
					t.Skip("TCP_DEFER_ACCEPT on MPTCP sockets needs Linux 5.19")
				}
				require.Empty(t, refused)
			}
			deferFor(3)
			conn, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			_, err = conn.Write([]byte("x"))
			require.NoError(t, err)
			accepted, err := ln.Accept()
			require.NoError(t, err)
			require.NoError(t, accepted.Close())

			counted, err := new(socket.Drops).Of(ln)
			require.NoError(t, err)
			require.NotZero(t, counted, "the kernel counts the connection, which was not lost")
			require.Nil(t, c.AcceptQueue(new(socket.Drops)).Dropped)
			for name := range gather(t) {
				require.NotContains(t, name, "dropped_connections_total")
			}
			closing()
			require.Zero(t, c.dropped)
		})
	}
}
