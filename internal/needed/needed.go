// Package needed has one rule for the tests of every package about what a machine
// may lack: another program, a right, a network namespace, IPv6 or MPTCP.
//
// A kernel that is older than an option is none of these, nor is another system.
// There a test skips, always.
package needed

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Required is the environment variable that, where it is "required", has a test
// fail for what is missing.
const Required = "SOCKOPT_PEERS"

// Missing skips the test for a reason, or fails it where nothing may be missing.
func Missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv(Required) == "required" {
		t.Fatalf("%s, and %s=required", reason, Required)
	}
	t.Skip(reason)
}

// Program returns the path of a program that plays the other side. Where it is
// not installed, it is missing.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, fmt.Sprintf("%s is not installed", name))
	}
	return path
}
