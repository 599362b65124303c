package integration_test

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// handshake is how a client's new HTTPS connections begin.
type handshake struct {
	name        string
	version     uint16 // default TLS 1.3
	records     bool   // each record is a write of its own, and the handshake is timed, too
	certificate bool   // of the client
	resumed     bool   // but for the first one
	http2       bool   // preface, SETTINGS, WINDOW_UPDATE and HEADERS are writes of their own
	proxy       bool   // a PROXY header comes first, in a write of its own
	races       bool   // in stock Caddy, something that the server sends may come in time
}

var handshakes = []handshake{
	{name: "whole"},
	{name: "TLS 1.2 record by record", version: tls.VersionTLS12, records: true},
	{name: "TLS 1.3 record by record", records: true},
	{name: "TLS 1.3 record by record, client certificate", records: true, certificate: true},
	{name: "resumed", resumed: true},
	{name: "resumed, record by record", resumed: true, records: true},
	{name: "HTTP/2", http2: true, races: true}, // the server sends SETTINGS
	{name: "after a PROXY header", proxy: true},
}

// TestNagleHandshakes opens new HTTPS connections of a client with Nagle's algorithm on.
// It sends Finished, then its request, which waits until Finished is acknowledged: Go's
// server has sent its tickets before, and so has nothing to send that carries that.
func TestNagleHandshakes(t *testing.T) {
	t.Parallel()                                            // it waits most of the time
	l := lab.Sites{Options: "strict_sni_host insecure_off"} // an address is no SNI
	sites := make(map[string][2]lab.Site)
	for _, h := range handshakes {
		directives, before := "echo_payload", ""
		if h.certificate {
			directives += "\ntls {\nclient_auth {\nmode require\n}\n}"
		}
		if h.proxy {
			before = proxyProtocol
		}
		stock := lab.Wrapping{Name: "stock", Lines: before}
		auto := lab.Wrapping{Name: "auto", Lines: before + "sockopt"}
		sites[h.name] = [2]lab.Site{l.Add(t, stock, lab.TLS, directives), l.Add(t, auto, lab.TLS, directives)}
	}
	l.Spawn(t)
	for _, h := range handshakes {
		noWait := requireNoWait
		if h.records { // the handshake is timed, too
			noWait = requireNoTimer
		}
		for i, hold := range []func(testing.TB, func() time.Duration){requireWait, noWait} {
			site := sites[h.name][i]
			if h.races && i == 0 {
				continue
			}
			t.Run(h.name+"/"+site.Name, func(t *testing.T) {
				config := h.config(t, &l)
				if h.resumed {
					h.ask(t, site.Addr, config) // it gets the ticket
				}
				hold(t, func() time.Duration { return h.ask(t, site.Addr, config) })
			})
		}
	}
}

// config returns what the client's connections to one server share.
func (h handshake) config(t testing.TB, l *lab.Sites) *tls.Config {
	t.Helper()
	config := &tls.Config{RootCAs: l.Certificate.Roots, ServerName: lab.Loopback, MinVersion: tls.VersionTLS12, MaxVersion: h.version}
	if h.resumed {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	if h.http2 {
		config.NextProtos = []string{"h2"}
	}
	if h.certificate {
		certificate, err := tls.LoadX509KeyPair(l.Certificate.File, l.Certificate.File)
		require.NoError(t, err)
		config.Certificates = []tls.Certificate{certificate}
	}
	return config
}

// ask opens a connection and asks for the payload. It returns how long that took from the
// end of the handshake, or from its beginning.
func (h handshake) ask(t testing.TB, addr string, config *tls.Config) time.Duration {
	t.Helper()
	tcp, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer tcp.Close()
	require.NoError(t, tcp.(*net.TCPConn).SetNoDelay(false))
	require.NoError(t, tcp.SetDeadline(time.Now().Add(lab.Patience)))
	if h.proxy {
		_, err = io.WriteString(tcp, "PROXY TCP4 127.0.0.1 127.0.0.1 56324 443\r\n")
		require.NoError(t, err)
	}
	conn := tls.Client(tcp, config)
	if h.records {
		conn = tls.Client(records{tcp}, config)
	}
	begin := time.Now()
	require.NoError(t, conn.Handshake())
	if !h.records {
		begin = time.Now()
	}
	client := lab.Client{TCP: tcp.(*net.TCPConn)}
	if h.http2 {
		client.Exchange, err = lab.NewHTTP2(conn, addr)
		require.NoError(t, err)
	} else {
		client.Exchange = lab.NewHTTP1(conn, addr)
	}
	client.Ask(t, client.Send)
	took := time.Since(begin)
	if cache := config.ClientSessionCache; cache != nil {
		_, ticket := cache.Get(config.ServerName)
		require.True(t, ticket, "the next connection resumes this one's session")
	}
	return took
}

// records sends each record of TLS in a write of its own.
type records struct{ net.Conn }

func (c records) Write(p []byte) (n int, err error) {
	for n < len(p) {
		size := 5 + int(binary.BigEndian.Uint16(p[n+3:])) // a record's header, whose end is its length
		m, err := c.Conn.Write(p[n : n+size])
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// TestCountsOfNewTLSConnections counts what the cure costs clients that have no use for
// it: with TCP_NODELAY, a new connection, one request, and the end. With -v it logs them
// as a table.
func TestCountsOfNewTLSConnections(t *testing.T) {
	connections := lab.Long(24, 200)
	var l lab.Sites
	cases := []handshake{{name: "HTTP/1.1"}, {name: "HTTP/2", http2: true}}
	sites := make(map[string][2]lab.Site)
	for _, h := range cases {
		sites[h.name] = [2]lab.Site{l.Add(t, lab.Stock, lab.TLS, "echo_payload"), l.Add(t, lab.Auto, lab.TLS, "echo_payload")}
	}
	system := l.Record(t, "setsockopt", func(t *testing.T) {
		for _, h := range cases {
			for _, site := range sites[h.name] {
				h.segments(t, &l, site, connections)
			}
		}
	})
	l.Spawn(t)
	table := lab.NewTable("a new TLS connection", "", "`setsockopt`", "segments")
	for _, h := range cases {
		// Which segments share one is the scheduler's business, in either. Over HTTP/2 some
		// clients' acknowledgements of SETTINGS are acknowledged before the end comes.
		more := 0.5
		if h.http2 {
			more = 1
		}
		var segments [2]float64
		require.NoError(t, thrice(func() error {
			for i, site := range sites[h.name] {
				segments[i] = float64(h.segments(t, &l, site, connections)) / float64(connections)
			}
			if segments[1] >= segments[0]+more {
				return fmt.Errorf("%v segments of a connection over %s, stock's have %v", segments[1], h.name, segments[0])
			}
			return nil
		}))
		var calls [2]int
		for i, site := range sites[h.name] {
			// A busy machine has a client's last bytes come after its response: one more.
			calls[i] = lab.Median(setsockoptsOfEach(system, site))
			table.Row(h.name, site.Name, strconv.Itoa(calls[i]), fmt.Sprintf("%.1f", segments[i]))
		}
		require.LessOrEqual(t, calls[1], calls[0]+1, h.name)
	}
	t.Logf("\n\n%s", table)
}

// segments opens connections with TCP_NODELAY for a request each, and returns how many
// segments both sides sent until both had closed.
func (h handshake) segments(t testing.TB, l *lab.Sites, site lab.Site, connections int) (segments int) {
	t.Helper()
	config := h.config(t, l)
	for range connections {
		conn, err := net.Dial("tcp", site.Addr)
		require.NoError(t, err)
		tcp := conn.(*net.TCPConn)
		secure := tls.Client(tcp, config)
		client := lab.Client{TCP: tcp, Exchange: lab.NewHTTP1(secure, site.Addr)}
		if h.http2 {
			require.NoError(t, secure.Handshake())
			client.Exchange, err = lab.NewHTTP2(&gathering{Conn: secure}, site.Addr)
			require.NoError(t, err)
		}
		client.Ask(t, client.Send)
		require.NoError(t, secure.CloseWrite())
		require.NoError(t, tcp.CloseWrite())
		_, err = io.Copy(io.Discard, tcp)
		require.NoError(t, err)
		received, sent := lab.Segments(t, tcp)
		segments += received + sent
		require.NoError(t, tcp.Close())
	}
	return segments
}

// gathering writes what was written since the last read, as clients of HTTP/2 do.
type gathering struct {
	net.Conn
	gathered []byte
}

func (c *gathering) Write(p []byte) (int, error) {
	c.gathered = append(c.gathered, p...)
	return len(p), nil
}

func (c *gathering) Read(p []byte) (int, error) {
	if len(c.gathered) > 0 {
		if _, err := c.Conn.Write(c.gathered); err != nil {
			return 0, err
		}
		c.gathered = c.gathered[:0]
	}
	return c.Conn.Read(p)
}
