package lab

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestNamespace(t *testing.T) {
	n := NewTestNamespace(t)
	ln, err := net.Listen("tcp", n.Near+":0")
	require.NoError(t, err)
	defer ln.Close()
	before, _, err := n.Segments()
	require.NoError(t, err)
	client, err := n.Dial(ln.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	require.Contains(t, client.LocalAddr().String(), n.Far)
	conn, err := ln.Accept()
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "hello")
	require.NoError(t, err)
	_, err = io.ReadFull(client, make([]byte, 5))
	require.NoError(t, err)
	received, sent, err := n.Segments()
	require.NoError(t, err)
	require.InDelta(t, 2, received-before, 0, "SYN-ACK and hello")
	require.GreaterOrEqual(t, sent, 2.0)

	far, err := n.Listen()
	require.NoError(t, err)
	defer far.Close()
	require.True(t, Answers(far.Addr().String()))

	p, err := n.Start(Command(t.Context(), "sh", "-c", "cat /proc/net/dev; exec sleep 60"))
	require.NoError(t, err)
	require.NoError(t, p.Await("it printed", func() bool { return strings.Contains(p.Printed(), farLink) }))
	p.End()
}

// TestReservePort: in a namespace with four ports the kernel gives a reserved one to no
// server and to no client, and servers that name it listen.
func TestReservePort(t *testing.T) {
	n := NewTestNamespace(t)
	var err error
	do := func(what func() error) error {
		n.Do(func() { err = what() })
		return err
	}
	require.NoError(t, do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40003"), 0o600)
	}))
	listen := func(addr string, options ...int) error {
		return do(func() error {
			config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
				return errors.Join(c.Control(func(fd uintptr) {
					for _, option := range options {
						err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, 1))
					}
				}), err)
			}}
			ln, err := config.Listen(t.Context(), "tcp", addr)
			if err != nil {
				return err
			}
			return ln.Close()
		})
	}
	dial := func(port int) error {
		return do(func() error {
			_, err := net.Dial("tcp", HostPort(Loopback, port))
			return err
		})
	}
	var release func()
	for left := 3; left >= 0; left-- {
		var port int
		require.NoError(t, do(func() (err error) {
			port, release, err = ReservePort()
			return err
		}))
		if left > 0 {
			t.Cleanup(release)
		}
		for _, host := range []string{"127.0.0.1", ""} {
			require.NoError(t, listen(HostPort(host, port)), "Go sets SO_REUSEADDR")
			require.NoError(t, listen(HostPort(host, port), unix.SO_REUSEPORT))
		}
		want := unix.ECONNREFUSED
		if left == 0 {
			want = unix.EADDRNOTAVAIL
		}
		require.ErrorIs(t, dial(port), want)
	}
	require.ErrorIs(t, listen("127.0.0.1:0"), unix.EADDRINUSE)
	require.ErrorIs(t, listen(":0"), unix.EADDRINUSE)
	release()
	require.NoError(t, listen("127.0.0.1:0"))
}

// TestThreadsThatEndHaveNoProcesses ends threads beside processes that other threads have
// started: these go on.
func TestThreadsThatEndHaveNoProcesses(t *testing.T) {
	OtherProcess(t)
	type cat struct {
		*Process
		stdin io.Writer
		err   error
	}
	const count = 8
	started := make(chan cat, count)
	for range count {
		go func() {
			cmd := Command(t.Context(), "cat")
			stdin, err := cmd.StdinPipe()
			p, startErr := Start(cmd)
			started <- cat{p, stdin, errors.Join(err, startErr)}
		}()
	}
	cats := make([]cat, count)
	for i := range cats {
		cats[i] = <-started
		require.NoError(t, cats[i].err)
		defer cats[i].End()
	}
	for range 100 {
		ended := make(chan struct{})
		onThread(func() { close(ended) })
		<-ended
	}
	for _, c := range cats {
		_, err := io.WriteString(c.stdin, "here")
		require.NoError(t, err)
		require.NoError(t, c.Await("it answered", func() bool { return c.Printed() == "here" }))
	}
}
