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

// Port returns a port that ReservePort keeps until the test ends.
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
