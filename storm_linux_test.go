package sockopt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
)

// stormWave is how many connections of the storm there are at a time.
const stormWave = 2_500

// behaviour is what one client of the storm does, once all of its wave are
// connected. It returns an error where the server did something wrong.
type behaviour struct {
	name string
	// early clients do not wait for the others of their wave.
	early bool
	act   func(*net.TCPConn) error
}

var behaviours = []behaviour{
	{"resets at once", true, reset},
	{"keeps alive", false, func(c *net.TCPConn) error {
		r := bufio.NewReader(c)
		for range 3 {
			if err := fetch(c, r, request); err != nil {
				return err
			}
		}
		return nil
	}},
	{"half-closes", false, func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, requestLine+"Connection: close\r\n"+requestRest); err != nil {
			return err
		}
		if err := c.CloseWrite(); err != nil {
			return err
		}
		r := bufio.NewReader(c)
		if err := receive(r); err != nil {
			return err
		}
		return atEnd(r)
	}},
	{"half-closes without a request", false, func(c *net.TCPConn) error {
		if err := c.CloseWrite(); err != nil {
			return err
		}
		return atEnd(bufio.NewReader(c))
	}},
	{"sends in pieces", false, func(c *net.TCPConn) error {
		if err := c.SetNoDelay(false); err != nil {
			return err
		}
		if _, err := io.WriteString(c, requestLine); err != nil {
			return err
		}
		return fetch(c, bufio.NewReader(c), requestRest)
	}},
	{"closes in the middle of a request", false, func(c *net.TCPConn) error {
		_, err := io.WriteString(c, requestLine+"Host: 127")
		return err
	}},
	{"resets in the middle of a request", false, func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, requestLine+"Host: 127"); err != nil {
			return err
		}
		return reset(c)
	}},
	{"resets in the middle of the response", false, func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, request); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, c, 100); err != nil {
			return err
		}
		return reset(c)
	}},
}

func reset(c *net.TCPConn) error {
	if err := c.SetLinger(0); err != nil {
		return err
	}
	return c.Close()
}

// fetch sends what makes a request complete and reads the payload.
func fetch(c net.Conn, r *bufio.Reader, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	return receive(r)
}

// receive reads one response and checks its payload.
func receive(r *bufio.Reader) error {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Equal(stars, body) {
		return fmt.Errorf("%w: status %s, %d bytes", errWrong, resp.Status, len(body))
	}
	return nil
}

// errWrong is what no fault may lead to: a whole response that is not the payload.
var errWrong = errors.New("a wrong payload")

func atEnd(r *bufio.Reader) error {
	switch b, err := r.ReadByte(); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: %q after its end", errWrong, b)
	default:
		return fmt.Errorf("instead of the end of the connection: %w", err)
	}
}

func TestFaultStorm(t *testing.T) {
	after := newCapture(t)
	addr := address(t)
	run(t, wrappers("sockopt {\nnodelay on\nrecv_buffer 64KiB\nsend_buffer 64KiB\n}\n"+after.directive),
		"http://"+addr+" {\necho_payload\n}")
	rest := atRest()
	wave := waveOf(t)
	conns := inLong(10_000, 200_000)
	for sent := 0; sent < conns; sent += wave {
		storm(t, addr, min(wave, conns-sent))
	}
	rest.await(t)
	require.Zero(t, after.report(t).errors())
}

// waveOf returns how many connections, with both sides in this process, its
// descriptors suffice for. Go has raised the soft limit to the hard one.
func waveOf(t testing.TB) int {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	const others = 500
	if limit.Cur >= 2*stormWave+others {
		return stormWave
	}
	wave := max(int(limit.Cur)-others, 100) / 2
	t.Logf("%d connections at a time instead of %d: this process may have %d descriptors", wave, stormWave, limit.Cur)
	return wave
}

// storm sends count clients at once, which behave in turn.
func storm(t *testing.T, addr string, count int) {
	t.Helper()
	var connected, done sync.WaitGroup
	var failed atomic.Pointer[error]
	connected.Add(count)
	for i := range count {
		done.Go(func() {
			b := behaviours[i%len(behaviours)]
			if err := b.run(addr, &connected); err != nil {
				err = fmt.Errorf("a client that %s: %w", b.name, err)
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	done.Wait()
	if err := failed.Load(); err != nil {
		require.NoError(t, *err)
	}
}

func (b behaviour) run(addr string, connected *sync.WaitGroup) error {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		connected.Done()
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		connected.Done()
		return err
	}
	connected.Done()
	if !b.early {
		connected.Wait()
	}
	return b.act(conn.(*net.TCPConn))
}

// resting is what a process has when nothing is going on.
type resting struct{ goroutines, descriptors int }

func atRest() resting {
	return resting{runtime.NumGoroutine(), descriptors()}
}

func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}

// await waits until the process has no more than it had at rest.
func (r resting) await(t testing.TB) {
	t.Helper()
	var now resting
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		now = atRest()
		if now.goroutines <= r.goroutines && now.descriptors <= r.descriptors {
			return
		}
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	t.Fatalf("left over: %d of %d goroutines, %d of %d descriptors\n%s",
		now.goroutines-r.goroutines, now.goroutines, now.descriptors-r.descriptors, now.descriptors, stacks)
}

func TestReloadsAndStopsLeaveNothing(t *testing.T) {
	addr, admin, dir := address(t), address(t), t.TempDir()
	var generation int
	load := func() {
		generation++
		caddyfile := config(dir, admin, wrappers("sockopt {\nnodelay off\nrecv_buffer 64KiB\n}"),
			fmt.Sprintf("http://%s {\nheader Generation %d\necho_payload\n}", addr, generation))
		adapted, err := adapt(strings.Replace(caddyfile, "grace_period 1s", "grace_period 10ms", 1))
		require.NoError(t, err)
		require.NoError(t, caddy.Load(adapted, true))
	}
	// open leaves connections at each point of their life. The listener of the
	// previous configuration may still take one along as it closes.
	open := func() (conns []net.Conn) {
		for _, text := range []string{
			"",                        // silent
			requestLine + "Host: 127", // in the middle of a request
			request,                   // with a response that nobody reads
		} {
			conns = append(conns, insist(t, addr, func(conn net.Conn) error {
				_, err := io.WriteString(conn, text)
				return err
			}))
		}
		return append(conns, insist(t, addr, func(conn net.Conn) error {
			return fetch(conn, bufio.NewReader(conn), request) // then idle
		}))
	}
	cycle := func() {
		load()
		conns := open()
		load()
		conns = append(conns, open()...)
		require.NoError(t, caddy.Stop())
		for _, conn := range conns {
			conn.Close()
		}
	}
	for range 3 {
		cycle()
	}
	rest := atRest()
	for range 25 { // with a reload and a stop in each
		cycle()
	}
	rest.await(t)
	require.Equal(t, 2*28, generation)
}

// insist connects until use succeeds with a connection.
func insist(t testing.TB, addr string, use func(net.Conn) error) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			if err = use(conn); err == nil {
				return conn
			}
			conn.Close()
		}
		require.True(t, time.Now().Before(deadline), "%v", err)
	}
}
