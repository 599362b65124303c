package integration_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

func TestUpgradedConnection(t *testing.T) {
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer backend.Close()
	go func() {
		for {
			conn, err := backend.Accept()
			if err != nil {
				return
			}
			go echoLines(conn)
		}
	}()
	for _, test := range []struct {
		name     string
		wrappers string
		servers  string
		tls      bool
		header   string
		cured    bool
	}{
		{name: "without sockopt"},
		{name: "sockopt", wrappers: "sockopt", cured: true},
		{name: "quickack on", wrappers: "sockopt {\nquickack on\n}", cured: true},
		{name: "quickack off", wrappers: "sockopt {\nquickack off\n}"},
		{name: "before tls", wrappers: "sockopt\ntls", tls: true, cured: true},
		{name: "after tls", wrappers: "sockopt", tls: true, cured: true},
		{name: "HTTP/1.1 alone", wrappers: "sockopt", servers: "protocols h1", cured: true},
		{name: "before proxy_protocol", wrappers: "sockopt\n" + proxyProtocol, header: proxyHeader, cured: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := lab.Address(t)
			host, lines := "127.0.0.1", ""
			site := "http://" + addr
			var config *tls.Config
			if test.tls {
				certificate := lab.Certify(t)
				host = "localhost"
				site = "https://localhost" + strings.TrimPrefix(addr, "127.0.0.1")
				lines = fmt.Sprintf("bind 127.0.0.1\ntls %s %[1]s\n", certificate.File)
				config = &tls.Config{RootCAs: certificate.Roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
			}
			inprocess.Run(t, fmt.Sprintf("servers {\nlistener_wrappers {\n%s\n%s\n}\n%s\n}", test.wrappers, inprocess.Observer, test.servers),
				fmt.Sprintf("%s {\n%sreverse_proxy %s\n}", site, lines, backend.Addr()))
			conn, err := dialInPieces(t.Context(), addr, test.header)
			require.NoError(t, err)
			defer conn.Close()
			closeWrite := conn.(inPieces).Conn.(*net.TCPConn).CloseWrite
			if config != nil {
				secure := tls.Client(conn, config)
				conn, closeWrite = secure, secure.CloseWrite
			}
			require.NoError(t, conn.SetDeadline(time.Now().Add(lab.Patience)))
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+host+"\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n")
			require.NoError(t, err)
			r := bufio.NewReader(conn)
			resp, err := http.ReadResponse(r, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
			expect := func(want string) {
				got, err := r.ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
			expect("the backend speaks first\n")
			nth := 0
			echo := func() {
				nth++
				line := fmt.Sprintf("line %d\n", nth)
				_, err := io.WriteString(conn, line)
				require.NoError(t, err)
				expect(line)
			}
			if test.cured {
				requireNoStall(t, echo)
			} else {
				echo()
			}
			long := strings.Repeat("*", 1<<20) + "\n"
			written := make(chan error, 1)
			go func() {
				_, err := io.WriteString(conn, long)
				written <- err
			}()
			expect(long)
			require.NoError(t, <-written)

			require.NoError(t, closeWrite())
			expect("the client has closed its half\n")
			_, err = r.ReadByte()
			require.ErrorIs(t, err, io.EOF)
		})
	}
}
