package socket

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"
)

// Wrappers as other packages have them.
type (
	embedsConn        struct{ net.Conn }
	embedsTCPConn     struct{ *net.TCPConn }
	embedsTLSConn     struct{ *tls.Conn }
	embedsWrapper     struct{ *embedsConn }
	embedsListener    struct{ net.Listener }
	embedsTCPListener struct{ *net.TCPListener }
	embedsSharedTwice struct{ *embedsListener }
	circle            struct{ net.Conn }
	panics            struct{ net.Conn }
)

func (c *circle) NetConn() net.Conn { return c }

func (panics) NetConn() net.Conn { panic("no connection") }

func listenUnix(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

func TestTCPConn(t *testing.T) {
	tcp, _ := pair(t)
	conn := &Conn{TCPConn: tcp}
	ln := listenUnix(t)
	unix, err := net.Dial("unix", ln.Addr().String())
	require.NoError(t, err)
	defer unix.Close()
	cases := []struct {
		name string
		c    net.Conn
		want *net.TCPConn
	}{
		{"TCPConn", tcp, tcp},
		{"Conn", conn, tcp},
		{"TLS", tls.Server(tcp, nil), tcp},
		{"TLS of Conn", tls.Server(conn, nil), tcp},
		{"PROXY protocol", proxyproto.NewConn(tcp), tcp},
		{"PROXY protocol of Conn", proxyproto.NewConn(conn), tcp},
		{"TLS of PROXY protocol", tls.Server(proxyproto.NewConn(tcp), nil), tcp},
		{"struct that embeds", embedsConn{tcp}, tcp},
		{"pointer to struct that embeds", &embedsConn{tcp}, tcp},
		{"struct that embeds Conn", embedsConn{conn}, tcp},
		{"struct that embeds TCPConn", embedsTCPConn{tcp}, tcp},
		{"struct that embeds TLS", embedsTLSConn{tls.Server(tcp, nil)}, tcp},
		{"two levels", &embedsConn{embedsConn{tcp}}, tcp},
		{"embedded pointer to a wrapper", embedsWrapper{&embedsConn{tcp}}, tcp},

		{"nil", nil, nil},
		{"nil TCPConn", (*net.TCPConn)(nil), nil},
		{"nil Conn", (*Conn)(nil), nil},
		{"Conn of nothing", new(Conn), nil},
		{"nil TLS", (*tls.Conn)(nil), nil},
		{"TLS of nothing", tls.Server(nil, nil), nil},
		{"nil PROXY protocol", (*proxyproto.Conn)(nil), nil},
		{"struct that embeds nil", embedsConn{}, nil},
		{"struct that embeds a nil TCPConn", embedsTCPConn{}, nil},
		{"struct that embeds a nil TLS", embedsTLSConn{}, nil},
		{"struct that embeds a nil wrapper", embedsWrapper{}, nil},
		{"nil pointer to struct that embeds", (*embedsConn)(nil), nil},
		{"circle", &circle{}, nil},
		{"NetConn that panics", panics{}, nil},
		{"no TCP", unix, nil},
		{"struct that embeds no TCP", embedsConn{unix}, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := TCPConn(tc.c)
			require.Equal(t, tc.want != nil, ok)
			require.Same(t, tc.want, got)
		})
	}
}

func TestTCPListener(t *testing.T) {
	tcp := listen(t)
	unix := listenUnix(t)
	loop := new(embedsListener)
	loop.Listener = loop
	cases := []struct {
		name string
		ln   net.Listener
		want *net.TCPListener
	}{
		{"TCPListener", tcp, tcp},
		{"struct that embeds", embedsListener{tcp}, tcp},
		{"pointer to struct that embeds", &embedsListener{tcp}, tcp},
		{"struct that embeds TCPListener", embedsTCPListener{tcp}, tcp},
		{"two levels", embedsListener{&embedsListener{tcp}}, tcp},
		{"embedded pointer to a wrapper", embedsSharedTwice{&embedsListener{tcp}}, tcp},
		{"PROXY protocol", &proxyproto.Listener{Listener: tcp}, tcp},
		{"TLS", tls.NewListener(tcp, nil), tcp},

		{"nil", nil, nil},
		{"nil TCPListener", (*net.TCPListener)(nil), nil},
		{"struct that embeds nil", embedsListener{}, nil},
		{"struct that embeds a nil TCPListener", embedsTCPListener{}, nil},
		{"struct that embeds a nil wrapper", embedsSharedTwice{}, nil},
		{"nil pointer to struct that embeds", (*embedsListener)(nil), nil},
		{"circle", loop, nil},
		{"no TCP", unix, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := TCPListener(tc.ln)
			require.Equal(t, tc.want != nil, ok)
			require.Same(t, tc.want, got)
		})
	}
}
