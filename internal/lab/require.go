package lab

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
)

// Required is the environment variable that makes a test fail for what the machine
// lacks, where it is "required". Otherwise the test is skipped.
const Required = "SOCKOPT_PEERS"

// Missing skips the test because the machine lacks something: another program, a right,
// a network namespace, IPv6 or MPTCP. With SOCKOPT_PEERS=required it fails the test.
//
// A kernel that is older than an option, and another system, are not missing: there a
// test always skips.
func Missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv(Required) == "required" {
		t.Fatalf("%s, and %s=required", reason, Required)
	}
	t.Skip(reason)
}

// Require returns the path of a program that the test runs. It is Missing where the
// program is not installed.
func Require(t testing.TB, program string) (path string) {
	t.Helper()
	path, err := Find(program)
	if err != nil {
		Missing(t, err.Error())
	}
	return path
}

// Find returns the path of a program. Debian keeps servers and ip out of a plain user's
// PATH.
func Find(program string) (path string, err error) {
	for _, name := range []string{program, "/usr/sbin/" + program, "/sbin/" + program} {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", program)
}

// RequireIPv6 is Missing where loopback has no IPv6.
func RequireIPv6(t testing.TB) {
	t.Helper()
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		Missing(t, fmt.Sprintf("no IPv6 here: %v", err))
	}
	ln.Close()
}

// DialMPTCP connects a client over MPTCP, which is Missing where the connection falls
// back to TCP.
func DialMPTCP(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	conn, err := dialer.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	tcp := conn.(*net.TCPConn)
	if multipath, err := tcp.MultipathTCP(); err != nil || !multipath {
		MissingMPTCP(t)
	}
	return tcp
}

// MissingMPTCP is Missing for MPTCP that is switched off. A kernel that is built without
// it always skips the test.
func MissingMPTCP(t testing.TB) {
	t.Helper()
	enabled := Sysctl("net.mptcp.enabled")
	if enabled == "" {
		t.Skip("this kernel is built without MPTCP")
	}
	Missing(t, "no MPTCP: net.mptcp.enabled is "+enabled)
}
