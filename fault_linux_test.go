package sockopt

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// long is the longer form of the fault tests, with a million short connections and
// more of everything else. .ci/long runs it.
var long = flag.Bool("long", false, "the longer form of the fault tests")

// inLong returns how many of something there are: in the shorter, or in the longer form.
func inLong(shorter, longer int) int {
	if *long {
		return longer
	}
	return shorter
}

// ordeal is something that clients do to a Caddy.
type ordeal struct {
	name string

	// clients is how many there are, in the shorter and in the longer form.
	clients, longer int

	// options are those of the listener, timeouts those of the server.
	options, timeouts []string

	// act has the clients do it. It returns when they are done, with an error where
	// Caddy did something wrong.
	act func(e *exposed, clients int) error

	far bool // it needs a network namespace
}

var ordeals = []ordeal{
	{
		name: "accept storm with resets", clients: 4_000, longer: 200_000,
		act: func(e *exposed, clients int) error { return e.behave(clients, 200, resets) },
	},
	{
		name: "half-open peers", clients: 400, longer: 10_000,
		timeouts: []string{"read_header 3s", "read_body 3s", "idle 3s"},
		act:      func(e *exposed, clients int) error { return e.behave(clients, 400, halfOpen) },
	},
	{
		name: "slow readers", clients: 100, longer: 1_000,
		options: []string{"send_buffer 64KiB"},
		act:     slowReaders,
	},
	{
		name: "large send buffers", clients: 32, longer: 128,
		options: []string{"send_buffer " + sendBuffer.String()},
		act:     largeSendBuffers,
	},
	{
		name: "short connections", clients: 5_000, longer: 1_000_000,
		act: func(e *exposed, clients int) error { return e.behave(clients, 16, short) },
	},
	{
		name: "peers that vanish", clients: 40, longer: 400,
		options: []string{"user_timeout 3s", "keepalive_idle 1s", "keepalive_interval 1s", "keepalive_count 3"},
		act:     vanish, far: true,
	},
}

// TestFaults exposes Caddy to each ordeal, and to each while configurations are
// loaded. Clients that behave get the whole payload all the while; in the end
// nothing is left of the others.
func TestFaults(t *testing.T) {
	for _, o := range ordeals {
		t.Run(o.name, func(t *testing.T) { o.test(t, false) })
		t.Run(o.name+" while configurations are loaded", func(t *testing.T) { o.test(t, true) })
	}
}

func (o ordeal) test(t *testing.T, loading bool) {
	e := expose(t, o)
	e.loading = loading
	clients := inLong(o.clients, o.longer)
	good := newTraffic(e.addr, "/routed", "/proxied")
	good.start(2)
	done := make(chan error, 1)
	go func() { done <- o.act(e, clients) }()
	loads, err := e.loadUntil(t, done, clients)
	good.stop()
	t.Logf("%d clients, %d of them cut by %d loads; clients that behave: %v", clients, e.cut.Load(), loads, good)

	require.NoError(t, err)
	require.Zero(t, good.broken.Load(), good)
	require.Positive(t, good.served.Load())
	if !loading {
		require.Zero(t, good.dropped.Load(), good)
	}
	e.requireRest(t)
}

// loadUntil loads one configuration after another, if it is to, until the clients are
// done. Where loads have cut as many as there are, a few loads are enough: from then on
// every client comes through.
func (e *exposed) loadUntil(t *testing.T, done <-chan error, clients int) (loads int, err error) {
	const few = 20
	for e.loading && (loads < few || e.cut.Load() < int64(clients)) {
		loads++
		global, sites := e.config(loads)
		status, answer := e.load("text/caddyfile", config(e.dir, e.admin, global, sites))
		require.Equal(t, http.StatusOK, status, answer)
		select {
		case err = <-done:
			return loads, err
		default:
		}
	}
	return loads, <-done
}

// isCut reports whether an error is a connection that ended before its time while
// configurations are loaded: a server that stops resets the connections that it has not
// accepted yet, and ends those that ask nothing. What comes before the cut is right all
// the same.
func (e *exposed) isCut(err error) bool {
	for _, cut := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ENOTCONN} {
		if e.loading && errors.Is(err, cut) {
			e.cut.Add(1)
			return true
		}
	}
	return false
}

// again has a client that is cut do the same again, until it is not.
func (e *exposed) again(act func() error) (err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if err = act(); !e.isCut(err) {
			return err
		}
	}
	return fmt.Errorf("cut for %v, again and again: %w", patience, err)
}

// exposed is a Caddy in a process of its own, to which an ordeal happens.
type exposed struct {
	*running
	ordeal
	addr, backend string
	cable         *far // where the ordeal needs one
	sendLimit     Size // of the kernel
	before        holdings

	loading bool         // configurations, all the while
	cut     atomic.Int64 // connections that ended before their time for it
}

func expose(t *testing.T, o ordeal, wrap ...string) *exposed {
	t.Helper()
	e := &exposed{ordeal: o, addr: address(t), backend: serveStars(t), sendLimit: Size(kernelLimit(t, "net.core.wmem_max"))}
	if o.far {
		e.cable = newFar(t)
	}
	global, sites := e.config(0)
	e.running = spawn(t, global, sites, wrap...)
	e.warmUp(t)
	e.awaitClosed(t)
	e.before = e.held()
	for range 20 { // what the start and these questions hold for a moment does not count
		now := e.held()
		e.before.goroutines = min(e.before.goroutines, now.goroutines)
		e.before.descriptors = min(e.before.descriptors, now.descriptors)
	}
	e.before.heap = e.heap()
	return e
}

// payloads of the site, in bytes.
const (
	largePayload = 1 << 20
	hugePayload  = 16 << 20
)

// keepalive is how long idle connections to the backend stay open.
const keepalive = 100 * time.Millisecond

// config is the configuration of a generation: each has other values.
func (e *exposed) config(generation int) (global, sites string) {
	_, port, _ := net.SplitHostPort(e.addr)
	options := append([]string{
		"nodelay on", "quickack auto", "metrics", fmt.Sprintf("dscp %d", generation%64), fmt.Sprintf("recv_buffer %dKiB", 64+generation%64),
	}, e.options...)
	beyond := ""
	if e.cable != nil {
		beyond = "handle /beyond {\nreverse_proxy " + e.cable.backend + " {\ntransport sockopt" +
			block("socket"+block(e.options...)) + "\n}\n}\n"
	}
	global = "servers {\ntimeouts" + block(e.timeouts...) + "\nlistener_wrappers" + block("sockopt"+block(options...)) + "\n}"
	sites = fmt.Sprintf(`http://:%s {
	handle /large {
		echo_payload %d
	}
	handle /huge {
		echo_payload %d
	}
	handle /routed {
		sockopt {
			nodelay off
			user_timeout %[4]ds
		}
		echo_payload
	}
	handle /proxied {
		reverse_proxy %[5]s {
			transport sockopt {
				keepalive %[7]v
				socket {
					metrics
					user_timeout %[4]ds
				}
			}
		}
	}
	handle {
		echo_payload
	}
%[6]s}
`, port, largePayload, hugePayload, 20+generation%10, e.backend, beyond, keepalive)
	return global, sites
}

// warmUp has Caddy do what it does for the first time, with as many clients at once as
// the ordeal has, or a hundred: the runtime keeps what it has made for a goroutine.
func (e *exposed) warmUp(t *testing.T) {
	t.Helper()
	atOnce := min(e.clients, 100)
	var connected sync.WaitGroup
	connected.Add(atOnce)
	require.NoError(t, together(atOnce, func(int) error { return short[0].run(e.addr, &connected) }))
	for range 100 {
		for _, path := range []string{"/", "/routed", "/proxied"} {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
			require.NoError(t, get(t.Context(), &client, "http://"+e.addr+path))
		}
	}
}

// holdings is what a process holds.
type holdings struct {
	goroutines, descriptors int
	heap                    float64
}

// held returns what Caddy holds, but for its heap.
func (c *running) held() holdings {
	c.t.Helper()
	_, profile := c.api(http.MethodGet, "/debug/pprof/goroutine?debug=1", "", "")
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.pid))
	require.NoError(c.t, err)
	return holdings{goroutines: goroutines(profile), descriptors: len(files)}
}

// goroutines counts those of a profile, but for what comes and goes without any client:
// certmagic's after a start, and the two that write the profile itself.
func goroutines(profile string) (count int) {
	for stack := range strings.SplitSeq(profile, "\n\n") {
		if strings.Contains(stack, "keepLockfileFresh") || strings.Contains(stack, "adminHandler") || strings.Contains(stack, "backgroundRead") {
			continue
		}
		if _, after, ok := strings.Cut(stack, "goroutine profile: total "); ok {
			_, stack, _ = strings.Cut(after, "\n")
		}
		alike := 0
		_, _ = fmt.Sscan(stack, &alike)
		count += alike
	}
	return count
}

// awaitHeld waits until Caddy holds no more goroutines and descriptors than before.
func (c *running) awaitHeld(t *testing.T, before holdings) {
	t.Helper()
	var now holdings
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if now = c.held(); now.goroutines <= before.goroutines && now.descriptors <= before.descriptors {
			return
		}
	}
	_, stacks := c.api(http.MethodGet, "/debug/pprof/goroutine?debug=1", "", "")
	t.Fatalf("left over: %d goroutines and %d descriptors, before there were %d and %d\n%s",
		now.goroutines, now.descriptors, before.goroutines, before.descriptors, stacks)
}

// moreHeap is how much the heap of Caddy may have grown in an ordeal. A connection that
// is not let go holds 8 KiB or more, the buffers of net/http: half of many clients would
// be seen, and all of a few. Without one the heap grows by 30 to 120 KB, and by another
// 1 to 3 KB for each client that there is at once, but never again when they come again.
func (o ordeal) moreHeap() float64 {
	const aClient, noise, most = 4 << 10, 128 << 10, 4 << 20
	return float64(min(noise+aClient*inLong(o.clients, o.longer), most))
}

// requireRest waits until nothing is left of an ordeal, and Caddy serves as before.
func (e *exposed) requireRest(t *testing.T) {
	t.Helper()
	e.awaitClosed(t)
	e.awaitHeld(t, e.before)
	var grown float64
	err := eventually("the heap to shrink", func() (bool, error) {
		grown = e.heap() - e.before.heap
		return grown <= e.moreHeap(), nil
	})
	t.Logf("the heap has grown by %.0f bytes, and may by %.0f", grown, e.moreHeap())
	require.NoError(t, err)

	e.warmUp(t)
	e.awaitClosed(t)
	e.awaitHeld(t, e.before)
	require.Empty(t, e.logged("error"))
	require.NotContains(t, e.log(), "panic")
}

// awaitClosed waits until the metrics have seen every connection closed that they have
// seen opened: those of clients, and those to the backend.
func (e *exposed) awaitClosed(t *testing.T) {
	t.Helper()
	for _, labels := range []string{listenerLabel(t, e.addr), `address="` + e.backend + `",direction="dialed"`} {
		opened, _ := e.metric("connections_total", labels)
		require.Positive(t, opened, labels)
		var closed float64
		for deadline := time.Now().Add(patience); closed != opened; time.Sleep(5 * time.Millisecond) {
			require.True(t, time.Now().Before(deadline), "%v connections were opened, %v closed: %s", opened, closed, labels)
			closed, _ = e.metric("rtt_seconds_count", labels)
		}
	}
}

// behave has clients behave in turn, some at a time, and returns one of the errors.
func (e *exposed) behave(clients, atOnce int, behaviours []behaviour) error {
	turns := make(chan behaviour)
	go func() {
		defer close(turns)
		for i := range clients {
			turns <- behaviours[i%len(behaviours)]
		}
	}()
	return together(atOnce, func(int) (failed error) {
		for b := range turns {
			if err := e.once(b); err != nil {
				failed = fmt.Errorf("a client that %s: %w", b.name, err)
			}
		}
		return failed
	})
}

// once connects a client, which behaves like this.
func (e *exposed) once(b behaviour) error {
	return e.again(func() error {
		conn, err := e.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		return b.act(conn)
	})
}

// dial connects a client that waits for nothing for ever.
func (e *exposed) dial() (*net.TCPConn, error) {
	conn, err := net.DialTimeout("tcp", e.addr, patience)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), conn.SetDeadline(time.Now().Add(patience))
}

// together runs act count times at once, and returns one of its errors when all are done.
func together(count int, act func(i int) error) (err error) {
	done := make(chan error)
	for i := range count {
		go func() { done <- act(i) }()
	}
	for range count {
		if failed := <-done; failed != nil {
			err = failed
		}
	}
	return err
}

// ofStorm are the behaviours of the storm by their names.
func ofStorm(names ...string) (some []behaviour) {
	for _, b := range behaviours {
		if slices.Contains(names, b.name) {
			some = append(some, b)
		}
	}
	return some
}

var resets = append(ofStorm("resets at once", "resets in the middle of a request", "resets in the middle of the response"),
	behaviour{name: "resets after a request", act: func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, request); err != nil {
			return err
		}
		return reset(c)
	}},
	behaviour{name: "resets after a request to a backend", act: func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, "GET /proxied HTTP/1.1\r\n"+requestRest); err != nil {
			return err
		}
		return reset(c)
	}},
	behaviour{name: "is answered between those that reset", act: askOnce},
)

const unfinishedPost = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n*****"

var halfOpen = append(ofStorm("half-closes", "half-closes without a request"),
	behaviour{name: "stops in the header", act: func(c *net.TCPConn) error {
		return unanswered(c, requestLine+"Host: 127")
	}},
	behaviour{name: "stops before it begins", act: func(c *net.TCPConn) error { return unanswered(c, "") }},
	behaviour{name: "half-closes in the header", act: func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, requestLine+"Host: 127"); err != nil {
			return err
		}
		return refused(c)
	}},
	behaviour{name: "half-closes in the body", act: func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, unfinishedPost); err != nil {
			return err
		}
		if err := c.CloseWrite(); err != nil {
			return err
		}
		return refused(c)
	}},
	behaviour{name: "stops in the body", act: func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, unfinishedPost); err != nil {
			return err
		}
		return refused(c)
	}},
	behaviour{name: "stops after a response", act: func(c *net.TCPConn) error {
		r := bufio.NewReader(c)
		if err := fetch(c, r, request); err != nil {
			return err
		}
		return atEnd(r)
	}},
)

// unanswered sends the beginning of a request, and waits for the server to give it up
// without a word.
func unanswered(c *net.TCPConn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	return atEnd(bufio.NewReader(c))
}

// refused waits for the server to end the connection, perhaps with a word about why.
func refused(c *net.TCPConn) error {
	answer, err := io.ReadAll(c)
	if err == nil && len(answer) > 0 && !bytes.HasPrefix(answer, []byte("HTTP/1.1 4")) {
		return fmt.Errorf("%w: %.100q", errWrong, answer)
	}
	return err
}

var short = []behaviour{{name: "asks once", act: askOnce}}

// askOnce is a request with a connection of its own.
func askOnce(c *net.TCPConn) error {
	r := bufio.NewReader(c)
	if err := fetch(c, r, requestLine+"Connection: close\r\n"+requestRest); err != nil {
		return err
	}
	return atEnd(r)
}

// reader reads a large payload piece by piece.
type reader struct {
	conn *net.TCPConn // nil once it was cut
	body io.Reader
	left int64
}

// readers are clients that have asked for a payload.
func (e *exposed) readers(count int, path string, payload int64) ([]*reader, error) {
	readers := make([]*reader, count)
	for i := range readers {
		readers[i] = &reader{left: payload}
	}
	return readers, e.all(readers, func(r *reader) (err error) {
		if r.conn, err = e.dial(); err != nil {
			return err
		}
		if err := r.conn.SetReadBuffer(32 << 10); err != nil {
			return err
		}
		_, err = fmt.Fprintf(r.conn, "GET %s HTTP/1.1\r\n%s", path, requestRest)
		return err
	})
}

// all has all readers do something that are not cut, and lets go those that are.
func (e *exposed) all(readers []*reader, do func(*reader) error) error {
	return together(len(readers), func(i int) error {
		r := readers[i]
		if r == nil {
			return nil
		}
		err := do(r)
		if err != nil {
			r.hangUp()
			readers[i] = nil
		}
		if e.isCut(err) {
			return nil
		}
		return err
	})
}

func (r *reader) hangUp() {
	if r.conn != nil {
		r.conn.Close()
	}
}

// read reads a piece of the payload.
func (r *reader) read(size int64) error {
	if err := r.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if r.body == nil {
		resp, err := http.ReadResponse(bufio.NewReader(r.conn), nil)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK || resp.ContentLength != r.left {
			return fmt.Errorf("%w: status %s, %d bytes", errWrong, resp.Status, resp.ContentLength)
		}
		r.body = resp.Body
	}
	piece := make([]byte, min(size, r.left))
	n, err := io.ReadFull(r.body, piece)
	if strings.Trim(string(piece[:n]), "*") != "" {
		return fmt.Errorf("%w with other bytes", errWrong)
	}
	r.left -= int64(n)
	return err
}

// readAll has readers read their payload in pieces, and others do something before each.
// It returns how many have the whole of it.
func (e *exposed) readAll(readers []*reader, piece int64, between func() error) (whole int, err error) {
	defer func() {
		for _, r := range readers {
			if r != nil {
				r.hangUp()
			}
		}
	}()
	for {
		if err := between(); err != nil {
			return 0, err
		}
		if err := e.all(readers, func(r *reader) error { return r.read(piece) }); err != nil {
			return 0, err
		}
		unread, done := 0, 0
		for _, r := range readers {
			switch {
			case r == nil:
			case r.left > 0:
				unread++
			default:
				done++
			}
		}
		if unread == 0 {
			return done, nil
		}
	}
}

// untilWhole has readers read until each has the whole payload: those that are cut ask
// again, as long as the loads may go on.
func untilWhole(readers int, read func(readers int) (whole int, err error)) error {
	left := readers
	for deadline := time.Now().Add(10 * patience); time.Now().Before(deadline); {
		whole, err := read(left)
		if err != nil {
			return err
		}
		if left -= whole; left == 0 {
			return nil
		}
	}
	return fmt.Errorf("%d of %d readers are cut again and again", left, readers)
}

// slowReaders read a piece each time that another client has been answered.
func slowReaders(e *exposed, clients int) error {
	return untilWhole(clients, func(clients int) (whole int, err error) {
		readers, err := e.readers(clients, "/large", largePayload)
		if err != nil {
			return 0, err
		}
		return e.readAll(readers, 128<<10, func() error { return e.once(short[0]) })
	})
}

// largeSendBuffers are readers that let the kernel fill the send buffers before they
// read anything.
func largeSendBuffers(e *exposed, clients int) error {
	each := min(sendBuffer, e.sendLimit)
	return untilWhole(clients, func(clients int) (whole int, err error) {
		readers, err := e.readers(clients, "/huge", hugePayload)
		if err != nil {
			return 0, err
		}
		if err := e.all(readers, func(r *reader) error { return r.read(1) }); err != nil {
			return 0, err
		}
		ports := make(map[int]bool)
		for _, r := range readers {
			if r != nil {
				ports[r.conn.LocalAddr().(*net.TCPAddr).Port] = true
			}
		}
		err = eventually("the send buffers to fill", func() (bool, error) {
			full, _, err := e.queued(ports, each)
			return full == len(ports), err
		})
		if err != nil {
			return 0, err
		}
		whole, err = e.readAll(readers, 4<<20, func() error { return e.once(short[0]) })
		if err != nil {
			return 0, err
		}
		return whole, eventually("the kernel to let the buffers go", func() (bool, error) {
			_, bytes, err := e.queued(ports, each)
			return bytes == 0, err
		})
	})
}

// TestFaultDescriptors fills Caddy's descriptors. Meanwhile the clients that it has
// accepted are served, and a configuration is refused with the reason; when
// descriptors come back, so does everything else, by itself.
func TestFaultDescriptors(t *testing.T) {
	const limit, count = 128, 160
	e := expose(t, ordeal{clients: count, longer: count, options: []string{"on_unsupported warn"}}, "sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, limit))
	load := func(admin net.Conn, generation int) (status int, answer string) {
		global, sites := e.config(generation)
		body := config(e.dir, e.admin, global, sites)
		_, err := fmt.Fprintf(admin, "POST /load HTTP/1.1\r\nHost: %s\r\nContent-Type: text/caddyfile\r\nContent-Length: %d\r\n\r\n%s",
			e.admin, len(body), body)
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(admin), nil)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(text)
	}

	_, port, err := net.SplitHostPort(e.addr)
	require.NoError(t, err)
	refusals := func() int { return strings.Count(e.log(), port+": accept4: too many open files") }

	for round := range inLong(1, 50) {
		admin, err := net.Dial("tcp", e.admin)
		require.NoError(t, err)
		defer admin.Close()
		status, answer := load(admin, round) // the same as is running: the connection has a descriptor
		require.Equal(t, http.StatusOK, status, answer)
		before := refusals()
		clients := make([]*net.TCPConn, count)
		for i := range clients {
			clients[i], err = e.dial()
			require.NoError(t, err)
			defer clients[i].Close()
		}
		require.NoError(t, eventually("Caddy to run out of descriptors", func() (bool, error) { return refusals() > before, nil }))

		accepted := bufio.NewReader(clients[0])
		require.NoError(t, fetch(clients[0], accepted, request))
		proxied := func() (status int) {
			_, err := io.WriteString(clients[0], "GET /proxied HTTP/1.1\r\n"+requestRest)
			require.NoError(t, err)
			resp, err := http.ReadResponse(accepted, nil)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			return resp.StatusCode
		}
		// What Caddy did before may still give a descriptor back, which a connection to
		// the backend then holds on to for the transport's keepalive after each request.
		for deadline := time.Now().Add(patience); proxied() != http.StatusBadGateway; time.Sleep(2 * keepalive) {
			require.True(t, time.Now().Before(deadline), "there is always a descriptor for the backend")
		}
		status, answer = load(admin, round+1)
		require.Equal(t, http.StatusBadRequest, status, answer)
		require.Contains(t, answer, "too many open files")
		require.NoError(t, fetch(clients[0], accepted, request))

		for _, client := range clients[1 : limit/2] {
			client.Close()
		}
		for _, client := range clients[limit/2:] {
			require.NoError(t, fetch(client, bufio.NewReader(client), request))
		}
		require.NoError(t, fetch(clients[0], accepted, "GET /proxied HTTP/1.1\r\n"+requestRest))
		status, answer = load(admin, round+1)
		require.Equal(t, http.StatusOK, status, answer)
		for _, client := range clients {
			client.Close()
		}
		admin.Close()
		// A listener that is still to close resets the next round's connections.
		e.awaitClosed(t)
		e.awaitHeld(t, e.before)
	}
	e.requireRest(t)
}

// sendBuffer is that of the readers which fill it.
const sendBuffer Size = 4 << 20

// queued returns to how many of these ports Caddy has that many bytes in the send
// buffer, and how many there are for all of them. Other programs' are not counted.
func (e *exposed) queued(ports map[int]bool, each Size) (full int, bytes int64, err error) {
	_, own, err := net.SplitHostPort(e.addr)
	if err != nil {
		return 0, 0, err
	}
	err = eachConnection(func(c connection) {
		if fmt.Sprint(c.local) == own && ports[c.remote] {
			bytes += c.queued
			if c.queued >= int64(each) {
				full++
			}
		}
	})
	return full, bytes, err
}

// eventually waits for something that is certain to come.
func eventually(what string, has func() (bool, error)) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if came, err := has(); came || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v for %s", patience, what)
		}
	}
}

// vanish has clients and a backend vanish at every point of a connection's life. Then
// clients that were closed while nobody heard of it are plugged in again: they answer
// with resets.
func vanish(e *exposed, clients int) error {
	defer e.cable.hangUp()
	for _, gone := range []func() error{
		func() error { return nil },
		func() error { e.cable.hangUp(); return e.cable.plug() },
	} {
		asking, err := e.reachOut(clients)
		if err != nil {
			return err
		}
		if err := e.cable.unplug(); err != nil {
			return err
		}
		if err := gone(); err != nil {
			return err
		}
		err = eventually("the connections to end", func() (bool, error) {
			open, err := e.cable.connections()
			return open == 0, err
		})
		if err != nil {
			return err
		}
		for _, answered := range asking {
			if err := <-answered; err != nil {
				return err
			}
		}
		if err := e.cable.plug(); err != nil {
			return err
		}
	}
	return nil
}

// reachOut opens connections over the cable: three in four from clients, one in four to
// the backend, for clients on this side. asking tells when one of those has an answer.
//
// Clients whose response does not go on are the last, since their time is running: the
// kernel gives a window that stays shut no longer than user_timeout.
func (e *exposed) reachOut(count int) (asking []chan error, err error) {
	_, port, err := net.SplitHostPort(e.addr)
	if err != nil {
		return nil, err
	}
	for i := range count {
		kind := i * (len(ofVanished) + 1) / count
		if kind == 0 {
			answered := make(chan error, 1)
			asking = append(asking, answered)
			go func() { answered <- e.once(beyond) }()
			if err := e.cable.awaitRequest(answered); err != nil {
				return nil, err
			}
			continue
		}
		err := e.again(func() error {
			conn, err := e.cable.dial(port)
			if err != nil {
				return err
			}
			return ofVanished[kind-1](conn)
		})
		if err != nil {
			return nil, err
		}
	}
	if e.loading {
		return asking, nil
	}
	open, err := e.cable.connections()
	if err == nil && open < count { // the transport may dial once more than it needs
		err = fmt.Errorf("%d connections over the cable, and not %d", open, count)
	}
	return asking, err
}

// beyond asks the backend at the far end, which vanishes instead of an answer.
var beyond = behaviour{name: "asks a backend that vanishes", act: func(c *net.TCPConn) error {
	if _, err := io.WriteString(c, "GET /beyond HTTP/1.1\r\n"+requestRest); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusGatewayTimeout && resp.StatusCode != http.StatusBadGateway {
		return fmt.Errorf("%w: status %s", errWrong, resp.Status)
	}
	return nil
}}

// ofVanished are what clients do before they vanish.
var ofVanished = []func(c *net.TCPConn) error{
	func(c *net.TCPConn) error { return fetch(c, bufio.NewReader(c), request) }, // then idle
	func(c *net.TCPConn) error { // in the middle of a request
		_, err := io.WriteString(c, requestLine+"Host: 127")
		return err
	},
	func(c *net.TCPConn) error { // in the middle of a response
		_, err := io.WriteString(c, "GET /huge HTTP/1.1\r\n"+requestRest)
		if err == nil {
			_, err = io.CopyN(io.Discard, c, 100)
		}
		return err
	},
}
