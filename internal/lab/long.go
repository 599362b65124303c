package lab

import (
	"flag"
	"testing"
)

// long selects the long form of tests: more requests, more clients, more rounds.
// .ci/long runs it.
var long = flag.Bool("long", false, "run the long form of the tests that have one")

// IsLong reports whether tests run in their long form.
func IsLong() bool { return *long }

// Long returns how many of something a test has: in its short or in its long form.
func Long[T any](short, longer T) T {
	if *long {
		return longer
	}
	return short
}

// OtherProcess skips the test with -short, which leaves out what starts another process.
func OtherProcess(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("it starts another process, and -short leaves that out")
	}
}
