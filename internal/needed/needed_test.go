package needed

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// verdict is a test that writes down how it ends.
type verdict struct {
	testing.TB
	ended string
}

func (v *verdict) Helper() {}

func (v *verdict) Skip(args ...any) { v.end("skipped: " + fmt.Sprint(args...)) }

func (v *verdict) Fatalf(format string, args ...any) {
	v.end("failed: " + fmt.Sprintf(format, args...))
}

func (v *verdict) end(how string) {
	v.ended = how
	runtime.Goexit()
}

// ofTest is how a test ends.
func ofTest(test func(testing.TB)) string {
	v := &verdict{ended: "passed"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(v)
	}()
	<-done
	return v.ended
}

func TestMissing(t *testing.T) {
	lacks := func(t testing.TB) { Program(t, "sockopt-no-such-program") }
	for value, want := range map[string]string{
		"":         "skipped: sockopt-no-such-program is not installed",
		"optional": "skipped: sockopt-no-such-program is not installed",
		"required": "failed: sockopt-no-such-program is not installed, and SOCKOPT_PEERS=required",
	} {
		t.Setenv(Required, value)
		require.Equal(t, want, ofTest(lacks))
		require.Equal(t, "passed", ofTest(func(t testing.TB) { require.NotEmpty(t, Program(t, "go")) }))
	}
}
