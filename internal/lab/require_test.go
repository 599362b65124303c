package lab

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// outcome is a test that notes how it ends.
type outcome struct {
	testing.TB
	ended string
}

func (o *outcome) Helper() {}

func (o *outcome) Skip(args ...any) { o.end("skipped: " + fmt.Sprint(args...)) }

func (o *outcome) Fatalf(format string, args ...any) {
	o.end("failed: " + fmt.Sprintf(format, args...))
}

func (o *outcome) end(how string) {
	o.ended = how
	runtime.Goexit()
}

// outcomeOf runs a test and returns how it ends.
func outcomeOf(test func(testing.TB)) string {
	o := &outcome{ended: "passed"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(o)
	}()
	<-done
	return o.ended
}

func TestRequire(t *testing.T) {
	lacks := func(t testing.TB) { Require(t, "sockopt-no-such-program") }
	for value, want := range map[string]string{
		"":         "skipped: sockopt-no-such-program is not installed",
		"optional": "skipped: sockopt-no-such-program is not installed",
		"required": "failed: sockopt-no-such-program is not installed, and SOCKOPT_PEERS=required",
	} {
		t.Setenv(Required, value)
		require.Equal(t, want, outcomeOf(lacks))
		require.Equal(t, "passed", outcomeOf(func(t testing.TB) { require.NotEmpty(t, Require(t, "go")) }))
	}
}
