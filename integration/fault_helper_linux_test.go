package integration_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// loadUntil loads one configuration after another, if it is to, until the clients are
// done. Where loads have cut as many as there are, a few loads are enough: from then on
// every client comes through.
func (e *exposed) loadUntil(t *testing.T, done <-chan error, clients int) (loads int, err error) {
	few := lab.Long(5, 20)
	for e.loading && (loads < few || e.cut.Load() < int64(clients)) {
		loads++
		global, sites := e.config(loads)
		status, answer := e.Load("text/caddyfile", e.Caddyfile(global, sites))
		require.Equal(t, http.StatusOK, status, answer)
		select {
		case err = <-done:
			return loads, err
		case <-time.After(10 * e.pause):
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
	for deadline := time.Now().Add(lab.Patience); time.Now().Before(deadline); {
		if err = act(); !e.isCut(err) {
			return err
		}
	}
	return fmt.Errorf("cut for %v, again and again: %w", lab.Patience, err)
}

// exposed is the Caddy of an ordeal, in a process of its own, and what it held before
// the first client, which it must hold after the last.
type exposed struct {
	*lab.Running
	ordeal
	addr, backend string
	link          *link        // where the ordeal needs one
	sendLimit     options.Size // of the kernel
	before        holdings

	loading bool          // configurations, all the while
	pause   time.Duration // of clients that behave after each request, ten times as long after each load
	cut     atomic.Int64  // connections that ended before their time for it
}

func expose(t *testing.T, o ordeal, wrap ...string) *exposed {
	t.Helper()
	e := &exposed{ordeal: o, pause: time.Duration(lab.Long(10, 0)) * time.Millisecond, addr: lab.Address(t), backend: forgetful(t), sendLimit: options.Size(lab.SysctlNumber(t, "net.core.wmem_max"))}
	if o.vanish {
		e.link = newLink(t)
	}
	global, sites := e.config(0)
	e.Running = lab.Spawn(t, global, sites, wrap...)
	e.warmUp(t)
	e.awaitClosed(t)
	e.before = held(t, e.Running)
	for range 20 { // what the start and these questions hold for a moment does not count
		now := held(t, e.Running)
		e.before.goroutines = min(e.before.goroutines, now.goroutines)
		e.before.descriptors = min(e.before.descriptors, now.descriptors)
	}
	e.before.heap = e.Heap()
	return e
}

// forgetful is a backend that closes idle connections after a second. Caddy's transports
// close them sooner, but for those that net/http loses: of connections that were idle for
// too long, Transport.queueForIdleConn takes one out of its list and leaves it to a
// goroutine, which closes it only if no CloseIdleConnections of a reload came in between
// (Go 1.26.8). Some of these never had a request.
func forgetful(t testing.TB) (addr string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(lab.Stars) }))
	server.Config.IdleTimeout = time.Second
	server.Config.ReadHeaderTimeout = lab.Patience / 3
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
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
	if e.link != nil {
		beyond = "handle /beyond {\nreverse_proxy " + e.link.backend + " {\ntransport sockopt" +
			lab.Block("socket"+lab.Block(e.options...)) + "\n}\n}\n"
	}
	global = "servers {\ntimeouts" + lab.Block(e.timeouts...) + "\nlistener_wrappers" + lab.Block("sockopt"+lab.Block(options...)) + "\n}"
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
	for range lab.Long(30, 100) {
		for _, path := range []string{"/", "/routed", "/proxied"} {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: lab.Patience}
			require.NoError(t, lab.Get(t.Context(), &client, "http://"+e.addr+path))
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
	conn, err := net.DialTimeout("tcp", e.addr, lab.Patience)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), conn.SetDeadline(time.Now().Add(lab.Patience))
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
