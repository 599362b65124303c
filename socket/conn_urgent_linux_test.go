package socket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// sendUrgent sends one byte of urgent data (tcp(7)).
func sendUrgent(t testing.TB, c *net.TCPConn) {
	t.Helper()
	var err error
	onDescriptor(t, c, func(fd int) { err = unix.Sendto(fd, []byte("!"), unix.MSG_OOB, nil) })
	require.NoError(t, err)
}

// awaitFIN returns when c has received all that its peer will send.
func awaitFIN(t testing.TB, c *net.TCPConn) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		info, err := Info(c)
		require.NoError(t, err)
		if info.State == unix.BPF_TCP_CLOSE_WAIT {
			return
		}
		require.True(t, time.Now().Before(deadline))
	}
}

// unixPair returns both ends of a Unix connection.
func unixPair(t testing.TB) (accepted, peer *net.UnixConn) {
	t.Helper()
	ln, err := net.Listen("unix", fmt.Sprintf("@%d %s", os.Getpid(), t.Name())) // an abstract address: a path may be too long
	require.NoError(t, err)
	defer ln.Close()
	dialed, err := net.Dial("unix", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { dialed.Close() })
	c, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.UnixConn), dialed.(*net.UnixConn)
}

// A copy or a read ends at urgent data or goes on behind it, as it does with a
// *net.TCPConn, and never goes round without moving anything.
func TestUrgentData(t *testing.T) {
	sent := []struct {
		name  string
		least string // what arrives in any case
		send  func(t *testing.T, peer *net.TCPConn)
	}{
		{"nothing else", "", func(t *testing.T, peer *net.TCPConn) { sendUrgent(t, peer) }},
		{"before bytes", "", func(t *testing.T, peer *net.TCPConn) { sendUrgent(t, peer); send(t, peer, "67890") }},
		{"behind bytes", "12345", func(t *testing.T, peer *net.TCPConn) { send(t, peer, "12345"); sendUrgent(t, peer) }},
		{"between bytes", "12345", func(t *testing.T, peer *net.TCPConn) {
			send(t, peer, "12345")
			sendUrgent(t, peer)
			send(t, peer, "67890")
		}},
	}
	places := []struct {
		name string
		open func(t *testing.T) (io.Writer, net.Conn) // what is copied to, and its far end
		// asTCPConn says that a *net.TCPConn copies so, too.
		asTCPConn bool
	}{
		{"TCPConn", func(t *testing.T) (io.Writer, net.Conn) { a, b := pair(t); return a, b }, true},
		{"Conn", func(t *testing.T) (io.Writer, net.Conn) {
			a, b := pair(t)
			c, _ := wrap(t, a, AckAuto)
			return c, b
		}, false},
		{"pipe", func(t *testing.T) (io.Writer, net.Conn) { a, b := net.Pipe(); return a, b }, true},
		{"Unix", func(t *testing.T) (io.Writer, net.Conn) { a, b := unixPair(t); return a, b }, false},
	}
	for _, s := range sent {
		for _, p := range places {
			for _, first := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/copy first %t", s.name, p.name, first), func(t *testing.T) {
					answers := make(map[string]string)
					for _, v := range variants {
						if v.name == "TCPConn" && !p.asTCPConn {
							continue
						}
						accepted, peer := pair(t)
						src := v.wrap(t, accepted)
						dst, sink := p.open(t)
						require.NoError(t, sink.SetDeadline(time.Now().Add(patience)))
						copies := func() result {
							n, err := src.WriteTo(dst)
							return result{n, errors.Join(err, dst.(io.Closer).Close())}
						}
						var copied <-chan result
						if first {
							copied = inBackground(copies)
							awaitParked(t, 1)
						}
						s.send(t, peer)
						require.NoError(t, peer.CloseWrite())
						if !first {
							awaitFIN(t, accepted)
							copied = inBackground(copies)
						}
						got, err := io.ReadAll(sink)
						require.NoError(t, err, v.name)
						r := <-copied
						require.True(t, strings.HasPrefix(string(got), s.least), "%s: %s", v.name, got)
						require.EqualValues(t, len(got), r.n, v.name)
						answers[v.name] = fmt.Sprintf("%s, %d, %v", got, r.n, r.err)
					}
					t.Log(answers)
					for _, answer := range answers {
						require.Equal(t, answers["auto"], answer)
					}
				})
			}
		}
	}
}

func TestReadPassesUrgentData(t *testing.T) {
	for _, v := range variants {
		accepted, peer := pair(t)
		c := v.wrap(t, accepted)
		send(t, peer, "12345")
		sendUrgent(t, peer)
		send(t, peer, "67890")
		require.NoError(t, peer.CloseWrite())
		require.NoError(t, c.SetReadDeadline(time.Now().Add(patience)))
		got, err := io.ReadAll(struct{ io.Reader }{c})
		require.NoError(t, err)
		require.Equal(t, "1234567890", string(got), v.name)
	}
}
