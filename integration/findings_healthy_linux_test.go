package integration_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// noted is a test that notes its errors and passes.
type noted struct {
	testing.TB
	errors []string
}

func (f *noted) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

// TestHealthIsChecked: a test whose Caddy finds what the test is not known to cause fails, for what a
// look has found and for what is so at its end.
func TestHealthIsChecked(t *testing.T) {
	if !isolated(t) {
		return
	}
	for finding, cause := range map[string]func(t testing.TB){
		"uncovered": func(t testing.TB) {
			global, _, sites, _ := trap(t)
			lab.Spawn(t, global, sites)
		},
		"accept_queue_overflows": func(t testing.TB) {
			addr := lab.Address(t)
			c := lab.Spawn(t, lab.Wrappers("sockopt"+lab.Block("backlog 4")), lab.EchoSite(addr))
			rush(t, c.PID, addr, 12)
			require.Eventually(t, func() bool { return strings.Contains(c.Logged(), "sockopt.findings") }, lab.Patience, 10*time.Millisecond)
		},
	} {
		var f noted
		t.Run(finding, func(t *testing.T) {
			f.TB = t
			cause(&f)
		})
		require.Len(t, f.errors, 1)
		require.Contains(t, f.errors[0], finding)
	}
}

// TestHalfOpenScan: a scan that ends each handshake with a reset counts as drops at the listening
// socket, whose queue has room.
func TestHalfOpenScan(t *testing.T) {
	if !isolated(t) {
		return
	}
	addr := lab.Address(t)
	c := lab.Spawn(t, lab.Wrappers("sockopt"), lab.EchoSite(addr))
	port, err := strconv.Atoi(lab.PortOf(addr))
	require.NoError(t, err)
	conn, err := net.ListenPacket("ip4:tcp", "127.0.0.1")
	require.NoError(t, err)
	defer conn.Close()
	f := findWhile(t, c, "1s", func() {
		for from := range 50 { // the kernel resets what it knows no socket of
			_, err := conn.WriteTo(syn(20_000+from, port), &net.IPAddr{IP: net.IPv4(127, 0, 0, 1)})
			require.NoError(t, err)
		}
	})
	require.Empty(t, f.Findings)
	require.Greater(t, *statusOf(t, c).Listeners[0].AcceptQueue.Dropped, uint64(10), "the kernel counts them")
}

// syn is a segment with SYN from a port of the loopback address to another.
func syn(from, to int) []byte {
	segment := make([]byte, 20)
	binary.BigEndian.PutUint16(segment, uint16(from))
	binary.BigEndian.PutUint16(segment[2:], uint16(to))
	segment[12], segment[13] = 5<<4, 2 // words of the header, SYN
	binary.BigEndian.PutUint16(segment[14:], 65535)
	sum := uint32(2*(127<<8+1) + syscall.IPPROTO_TCP + len(segment)) // of the addresses, protocol and length
	for i := 0; i < len(segment); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(segment[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(segment[16:], ^uint16(sum+sum>>16))
	return segment
}

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
