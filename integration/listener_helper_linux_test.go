package integration_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() { caddy.RegisterModule(hide{}) }

// hide is a listener wrapper that hands over connections of its own.
type hide struct{}

func (hide) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.test_hide", New: func() caddy.Module { return new(hide) }}
}

func (hide) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (hide) WrapListener(ln net.Listener) net.Listener { return hidingListener{ln} }

type hidingListener struct{ net.Listener }

func (l hidingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return conn, err
	}
	return &hidingConn{conn}, nil
}

type hidingConn struct{ net.Conn }

// dialInPieces connects a client under Nagle's algorithm that sends whatever it
// has in two pieces: the second waits until the first is acknowledged.
func dialInPieces(ctx context.Context, addr, header string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if err := conn.(*net.TCPConn).SetNoDelay(false); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, header); err != nil {
		return nil, err
	}
	return inPieces{conn}, nil
}

type inPieces struct{ net.Conn }

func (c inPieces) Write(p []byte) (int, error) {
	half := (len(p) + 1) / 2
	n, err := c.Conn.Write(p[:half])
	if err != nil || half == len(p) {
		return n, err
	}
	m, err := c.Conn.Write(p[half:])
	return n + m, err
}

// echoLines is a backend that upgrades a connection, and speaks first and last.
func echoLines(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	if _, err := http.ReadRequest(r); err != nil {
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n"+
		"the backend speaks first\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			_, _ = io.WriteString(conn, "the client has closed its half\n")
			return
		}
		_, _ = io.WriteString(conn, line)
	}
}
