package integration_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// walked is a Caddy in a process of its own with idle connections.
type walked struct {
	*lab.Running
	addr string
	open int
}

// dial opens connections until there are so many.
func (w *walked) dial(t *testing.T, count int) {
	t.Helper()
	for ; w.open < count; w.open++ {
		conn, err := net.Dial("tcp", w.addr)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
	}
	require.NoError(t, lab.Eventually("all are accepted", func() (bool, error) {
		return connectionsOf(t, w.Running, "?limit=1").Matched == count, nil
	}))
}

// send opens a connection that always has something to send.
func (w *walked) send(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "GET /large HTTP/1.1\r\nHost: %s\r\n\r\n", w.addr)
	require.NoError(t, err)
	w.open++
	require.NoError(t, lab.Eventually("it sends", func() (bool, error) {
		open := connectionsOf(t, w.Running, "?sort=notsent_bytes&limit=1")
		return open.Matched == w.open && open.Connections[0]["notsent_bytes"] != 0.0, nil
	}))
}

// walk asks for the connections, and returns how long that took.
func (w *walked) walk(t *testing.T, query string) time.Duration {
	t.Helper()
	began := time.Now()
	code, answer := w.API(http.MethodGet, "/sockopt/connections"+query, "", "")
	require.Equal(t, http.StatusOK, code, answer)
	return time.Since(began)
}

func startWalked(t *testing.T) *walked {
	t.Helper()
	addr := lab.Address(t)
	return &walked{Running: lab.Spawn(t, lab.Wrappers("sockopt"), fmt.Sprintf("http://%s {\nhandle /large {\necho_payload 64MiB\n}\necho_payload\n}", addr)), addr: addr}
}

// TestCallsOfAWalk: an idle connection costs one system call, one that sends two, and three are
// for each that is shown.
func TestCallsOfAWalk(t *testing.T) {
	lab.Require(t, "strace")
	w := startWalked(t)
	const idle, shown = 150, 100
	w.dial(t, idle)
	w.send(t)
	strace, err := lab.Attach(filepath.Join(t.TempDir(), "trace"), "getsockopt", w.PID)
	require.NoError(t, err)
	answer := connectionsOf(t, w.Running, fmt.Sprintf("?limit=%d", shown))
	trace, err := strace.Detach()
	require.NoError(t, err)
	require.Len(t, answer.Connections, shown)
	require.Len(t, trace.Like(`, TCP_INFO, `), idle+2)
	require.Len(t, trace, idle+2+3*shown)
}

// TestCostOfAWalk: a walk costs as much for the last connection as for the first, and allocates little
// more than the line that it prints. Requests do not wait for it.
func TestCostOfAWalk(t *testing.T) {
	t.Parallel()
	w := startWalked(t)
	client := lab.Site{Protocol: lab.Plain, Addr: w.addr}.Dial(t)
	w.open++
	w.send(t) // otherwise there is no second reading, and no pause
	allocated := func() float64 {
		_, metrics := w.API(http.MethodGet, "/metrics", "", "")
		return lab.Figure(t, metrics, `(?m)^go_memstats_alloc_bytes_total (\S+)`)
	}
	cpu, heap := make(map[int]float64), make(map[int]float64) // of a walk that shows as many
	few := lab.Long(100, 1000)                                // and ten times as many, with two descriptors each
	rounds := lab.Long(3, 20)
	for _, count := range []int{few, 10 * few} {
		w.dial(t, count)
		for _, query := range []string{"", "?limit=0"} {
			var walks []time.Duration
			before, had := w.CPU(), allocated()
			for range rounds {
				walks = append(walks, w.walk(t, query))
			}
			cpu[count], heap[count] = (w.CPU()-before)/float64(rounds), (allocated()-had)/float64(rounds)
			t.Logf("%d connections, %q: %v, of which 100 ms are between two readings; CPU time of the process %.1f ms, allocated %.0f KiB", count, query, lab.Median(walks), 1e3*cpu[count], heap[count]/1024)
		}
	}
	require.Less(t, (heap[10*few]-heap[few])/float64(9*few), 2048.0, "bytes of a connection that is shown, whose line has a thousand")
	require.Less(t, cpu[10*few], 30*max(cpu[few], .005), "a cost that grows with the square would be a hundred times")

	alone := askUntil(t, client, time.After(lab.Long(100*time.Millisecond, time.Second)))
	show := func(took []time.Duration, while string) {
		for _, q := range []float64{.5, .99, 1} {
			t.Logf("quantile %v of a request: %v %s", q, time.Duration(lab.Quantile(took, q)), while)
		}
	}
	show(alone, "alone")
	for _, beside := range []struct{ path, while string }{
		{"/sockopt/connections?limit=0", "while all are shown again and again"},
		{"/debug/pprof/heap?gc=1", "while Go collects garbage again and again, which walks make, too"},
	} {
		ended := make(chan time.Time)
		go func() {
			defer close(ended)
			for range lab.Long(2, 20) {
				resp, err := http.Get("http://" + w.Admin + beside.path)
				if err != nil {
					continue // requests tell
				}
				_, _ = io.Copy(io.Discard, resp.Body) // to keep it would make garbage here, and delay the requests
				resp.Body.Close()
			}
		}()
		meanwhile := askUntil(t, client, ended)
		show(meanwhile, beside.while)
		require.Less(t, lab.Median(meanwhile), 100*time.Millisecond)
	}
}

// askUntil sends requests and returns how long each took.
func askUntil(t *testing.T, client *lab.Client, ended <-chan time.Time) (took []time.Duration) {
	t.Helper()
	for {
		began := time.Now()
		client.Ask(t, client.Send)
		took = append(took, time.Since(began))
		select {
		case <-ended:
			return took
		default:
		}
	}
}
