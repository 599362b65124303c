package integration_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// vanish unplugs clients and a backend at every point of a connection's life. Then it
// plugs in clients that were closed while they were unplugged: they answer with resets.
func vanish(e *exposed, clients int) error {
	defer e.link.hangUp()
	for _, gone := range []func() error{
		func() error { return nil },
		func() error { e.link.hangUp(); return e.link.Plug() },
	} {
		asking, err := e.reachOut(clients)
		if err != nil {
			return err
		}
		if err := e.link.Unplug(); err != nil {
			return err
		}
		if err := gone(); err != nil {
			return err
		}
		err = lab.Eventually("the connections to end", func() (bool, error) {
			open, err := e.link.connections()
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
		if err := e.link.Plug(); err != nil {
			return err
		}
	}
	return nil
}

// reachOut opens connections over the link: three in four from clients, one in four to
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
			if err := e.link.awaitRequest(answered); err != nil {
				return nil, err
			}
			continue
		}
		err := e.again(func() error {
			conn, err := e.link.dial(port)
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
	open, err := e.link.connections()
	if err == nil && open < count { // the transport may dial once more than it needs
		err = fmt.Errorf("%d connections over the link, and not %d", open, count)
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

// link joins Caddy to a network namespace with clients and a backend. When it is
// unplugged, these vanish: their packets are lost, as when a machine loses its network.
type link struct {
	*lab.Namespace
	backend string        // address of a backend there, which never answers
	asked   chan struct{} // a request has reached it

	mu    sync.Mutex
	conns []net.Conn
}

func newLink(t testing.TB) *link {
	t.Helper()
	l := &link{Namespace: lab.NewTestNamespace(t), asked: make(chan struct{}, 1)}
	l.serve(t)
	return l
}

// serve has a backend at the far end take requests that it never answers.
func (l *link) serve(t testing.TB) {
	t.Helper()
	ln, err := l.Listen()
	require.NoError(t, err)
	l.backend = ln.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			l.hold(conn)
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				select {
				case l.asked <- struct{}{}:
				default: // a client that was cut has asked again
				}
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		l.hangUp()
		serving.Wait()
	})
}

// awaitRequest returns when a request has reached the backend, or was answered
// before it did.
func (l *link) awaitRequest(answered chan error) error {
	select {
	case <-l.asked:
		return nil
	case err := <-answered:
		answered <- err
		return err
	case <-time.After(lab.Patience):
		return fmt.Errorf("no request reached the backend in %v", lab.Patience)
	}
}

// hold keeps a connection of the far end until it hangs up.
func (l *link) hold(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, conn)
}

// hangUp resets the connections of the far end. If it is unplugged, the other
// end never receives the reset, which is sent once.
func (l *link) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		_ = reset(conn.(*net.TCPConn))
	}
	l.conns = nil
}

// connections returns how many connections to the far end programs here hold.
func (l *link) connections() (open int, err error) {
	err = eachConnection(func(c connection) {
		if c.held && c.host.String() == l.Far {
			open++
		}
	})
	return open, err
}

// connection is what the kernel knows of a TCP connection of this namespace.
type connection struct {
	local, remote int // ports
	host          net.IP
	queued        int64 // bytes sent that the remote has not acknowledged
	held          bool  // by a program
}

// eachConnection passes on every connection, over IPv4 and IPv6.
func eachConnection(know func(connection)) error {
	fs, err := procfs.NewFS("/proc/thread-self")
	if err != nil {
		return err
	}
	for _, table := range []func() (procfs.NetTCP, error){fs.NetTCP, fs.NetTCP6} {
		lines, err := table()
		if errors.Is(err, iofs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return err
		}
		for _, line := range lines {
			know(connection{int(line.LocalPort), int(line.RemPort), line.RemAddr, int64(line.TxQueue), line.Inode != 0})
		}
	}
	return nil
}

// dial connects from the far end to a port here.
func (l *link) dial(port string) (*net.TCPConn, error) {
	conn, err := l.Dial(net.JoinHostPort(l.Near, port))
	if err == nil {
		l.hold(conn)
	}
	return conn, err
}
