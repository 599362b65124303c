package integration_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestHealthyIsSilent: what is no fault of the server leaves the doctor at 0.
func TestHealthyIsSilent(t *testing.T) {
	t.Parallel()
	slow := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-time.After(100 * time.Millisecond) // as long as a delayed acknowledgement
		_, _ = w.Write(lab.Stars)
	})
	auto, off := lab.Address(t), lab.Address(t)
	global := "servers :" + lab.PortOf(auto) + " {\nname auto\nlistener_wrappers {\nsockopt\n}\n}\n" +
		"servers :" + lab.PortOf(off) + " {\nname off\nlistener_wrappers {\nsockopt {\nquickack off\nmetrics\n}\n}\n}"
	var sites string
	for _, addr := range []string{auto, off} {
		sites += "http://" + addr + " {\nreverse_proxy /slow " + slow + " {\ntransport sockopt\n}\necho_payload 64MiB\n}\n"
	}
	c := lab.Spawn(t, global, sites)
	scan := func(addr string) {
		for range 200 {
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			require.NoError(t, conn.(*net.TCPConn).SetLinger(0))
			conn.Close()
		}
	}
	ask := func(addr string, body []byte) {
		var clients sync.WaitGroup
		for range 4 {
			clients.Go(func() {
				for range 3 {
					resp, err := http.Post("http://"+addr+"/slow", "text/plain", bytes.NewReader(body))
					if err == nil {
						_, _ = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
				}
			})
		}
		clients.Wait()
	}
	phone := func(addr string) {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+addr+"\r\n\r\n") // and reads nothing
		require.NoError(t, err)
	}
	for name, do := range map[string]func(addr string){
		"a port scan":      scan,
		"a slow backend":   func(addr string) { ask(addr, nil) },
		"uploads":          func(addr string) { ask(addr, make([]byte, 4<<20)) },
		"phones that stop": phone,
		"reloads":          func(string) { c.Reload(global, sites+"# changed\n"); c.Reload(global, sites) },
		"nothing, at all":  func(string) {},
	} {
		f := findWhile(t, c, "1s", func() {
			do(auto)
			do(off)
		})
		require.Empty(t, f.Findings, name)
	}
}
