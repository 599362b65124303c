package integration_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// isolated runs the test again in a process that has a network namespace of its own, and
// reports whether this is that process. There a test may change routes and sysctls.
func isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		ip(t, nil, "link", "set", "lo", "up")
		return true
	}
	lab.OtherProcess(t)
	if os.Geteuid() != 0 {
		lab.Missing(t, "only root makes network namespaces")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	only := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	cmd := lab.Command(t.Context(), self, "-test.v", "-test.run="+only, fmt.Sprintf("-long=%v", lab.IsLong()))
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	if strings.Contains(string(output), "--- SKIP: "+t.Name()) {
		t.Skipf("%s", output)
	}
	require.Contains(t, string(output), "--- PASS: "+t.Name())
	return false
}

// ip runs the command ip, in a namespace where there is one.
func ip(t testing.TB, n *lab.Namespace, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), lab.Require(t, "ip"), args...)
	var output []byte
	var err error
	run := func() { output, err = cmd.CombinedOutput() }
	if n == nil {
		run()
	} else {
		n.Do(run)
	}
	require.NoError(t, err, "ip %v: %s", args, output)
}

// network is a backend in a namespace that two links lead to. Its address is on neither
// link, so that a route decides.
type network struct {
	*lab.Namespace
	backend *http.Server
	addr    string // of the backend
}

// The second link, and the backend's address.
const (
	secondLink = "second0"
	secondNear = "198.51.100.1"
	secondFar  = "198.51.100.2"
	behind     = "203.0.113.1"
)

// newNetwork returns a network whose backend answers with the address that it sees, once
// its handler is done.
func newNetwork(t *testing.T, handler http.HandlerFunc) *network {
	t.Helper()
	n := &network{Namespace: lab.NewTestNamespace(t)}
	addSecondLink(t, n.Namespace)
	ip(t, n.Namespace, "address", "add", behind+"/32", "dev", "lo")

	var ln net.Listener
	var err error
	n.Do(func() { ln, err = net.Listen("tcp", behind+":0") })
	require.NoError(t, err)
	n.addr = ln.Addr().String()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	n.backend = &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler != nil {
			handler(w, r)
		}
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprint(w, host)
	})}
	go func() { _ = n.backend.Serve(ln) }()
	t.Cleanup(func() { n.backend.Close() })
	return n
}

// addSecondLink adds the second link to a namespace. It goes with the test: the kernel takes
// its time to delete it with the namespace.
func addSecondLink(t testing.TB, n *lab.Namespace) {
	t.Helper()
	var thread int
	n.Do(func() { thread = unix.Gettid() })
	ip(t, nil, "link", "add", secondLink, "type", "veth", "peer", "name", "second1", "netns", fmt.Sprint(thread))
	t.Cleanup(func() { // which may have deleted it
		_ = exec.CommandContext(context.Background(), lab.Require(t, "ip"), "link", "delete", secondLink).Run()
	})
	ip(t, nil, "address", "add", secondNear+"/30", "dev", secondLink)
	ip(t, nil, "link", "set", secondLink, "up")
	ip(t, n, "address", "add", secondFar+"/30", "dev", "second1")
	ip(t, n, "link", "set", "second1", "up")
}

// packet is a TCP segment to the backend, as far as tests look at it.
type packet struct {
	syn        bool
	tos        byte
	window     int
	mss, scale int // of a SYN
}

// capture returns a function that returns the segments to the backend so far.
func (n *network) capture(t *testing.T) func() []packet {
	t.Helper()
	var fd int
	var err error
	n.Do(func() {
		const ipv4 = unix.ETH_P_IP>>8 | unix.ETH_P_IP<<8&0xff00 // in network order
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, ipv4)
	})
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return func() (packets []packet) {
		buf := make([]byte, 1<<16)
		for {
			size, err := unix.Read(fd, buf)
			if err == unix.EAGAIN {
				return packets
			}
			require.NoError(t, err)
			if p, ok := n.parse(buf[:size]); ok {
				packets = append(packets, p)
			}
		}
	}
}

// parse reads an IPv4 packet.
func (n *network) parse(b []byte) (p packet, ok bool) {
	const protocolTCP, flagSYN = 6, 2
	tcp := b[int(b[0]&0xf)*4:]
	if b[9] != protocolTCP || fmt.Sprint(binary.BigEndian.Uint16(tcp[2:])) != lab.PortOf(n.addr) {
		return p, false
	}
	p = packet{syn: tcp[13]&flagSYN != 0, tos: b[1], window: int(binary.BigEndian.Uint16(tcp[14:]))}
	for options := tcp[20 : tcp[12]>>4*4]; len(options) > 0; {
		switch options[0] {
		case 0:
			return p, true
		case 1:
			options = options[1:]
			continue
		case 2:
			p.mss = int(binary.BigEndian.Uint16(options[2:]))
		case 3:
			p.scale = int(options[2])
		}
		options = options[options[1]:]
	}
	return p, true
}

// proxy serves sites that forward to the backend: one for each of the blocks, which
// follow the directive's upstreams. It returns a function that asks one of them.
func (n *network) proxy(t *testing.T, blocks ...string) (ask func(site int) (status int, body string)) {
	t.Helper()
	addrs := make([]string, len(blocks))
	var sites strings.Builder
	for i, block := range blocks {
		addrs[i] = lab.Address(t)
		fmt.Fprintf(&sites, "http://%s {\nreverse_proxy %s {\n%s\n}\n}\n", addrs[i], n.addr, block)
	}
	lab.Spawn(t, "", sites.String())
	return func(site int) (status int, body string) {
		t.Helper()
		return statusAndBody(t, "http://"+addrs[site])
	}
}

// statusAndBody asks over a connection of its own.
func statusAndBody(t testing.TB, url string) (status int, body string) {
	t.Helper()
	return statusAndBodyOf(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: lab.Patience}, url)
}

func statusAndBodyOf(t testing.TB, client *http.Client, url string) (status int, body string) {
	t.Helper()
	resp, err := client.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}

// with is the block of a transport with socket options.
func with(lines ...string) string {
	return "transport sockopt {\nsocket" + lab.Block(lines...) + "\n}"
}
