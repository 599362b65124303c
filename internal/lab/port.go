package lab

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Loopback is where everything listens.
const Loopback = "127.0.0.1"

// used are the ports that Port has returned: none is returned twice, since counters that
// a process keeps by address would mix two tests.
var used sync.Map

// Port returns a port that the kernel picked. On Linux no other program gets it until
// the test ends, except a server that shares it (SO_REUSEPORT), as Caddy does.
func Port(t testing.TB) int {
	t.Helper()
	for {
		port, release, err := ReservePort()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
		if _, again := used.LoadOrStore(port, nil); !again {
			return port
		}
	}
}

// Address returns a loopback address with a port of Port.
func Address(t testing.TB) string {
	t.Helper()
	return HostPort(Loopback, Port(t))
}

// HostPort joins a host and a port.
func HostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// PortOf returns the port of an address, as text.
func PortOf(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(fmt.Sprintf("%s is not an address: %v", addr, err)) // addresses come from Address or from a listener
	}
	return port
}

// Ports returns ports that the kernel picked, all different. Somebody else may take one
// before the server does: then the server is started again with others.
func Ports(host string, count int) ([]int, error) {
	picked := make([]int, count)
	for i := range picked {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		picked[i] = ln.Addr().(*net.TCPAddr).Port
	}
	return picked, nil
}
