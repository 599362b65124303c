package socket

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// refusals sets settings and returns the errors of those that were refused, by name.
func refusals(t testing.TB, c syscall.Conn, settings []Setting) map[string]error {
	t.Helper()
	refused, err := Set(c, settings)
	require.NoError(t, err)
	errs := make(map[string]error)
	for _, r := range refused {
		errs[r.Option.Name] = r.Err
	}
	return errs
}

// to is the setting of an option to a number.
func to[N int | int64](o Option, number N) Setting { return Setting{o, Value{Number: int64(number)}} }

func TestSetOnEverySystem(t *testing.T) {
	cases := []Setting{
		to(NoDelay, 0),
		to(NoDelay, 1),
		to(QuickAck, 0),
		to(RecvBuffer, 64<<10),
		to(SendBuffer, 64<<10),
	}
	for _, s := range cases {
		t.Run(s.Option.Name, func(t *testing.T) {
			accepted, _ := pair(t)
			got := refusals(t, accepted, []Setting{s})
			if s.Option.Supported() {
				require.Empty(t, got)
				return
			}
			require.ErrorIs(t, got[s.Option.Name], errors.ErrUnsupported)
		})
	}
}

// TestNumbersHaveNames: a number whose name no option has would leave that option
// unsupported.
func TestNumbersHaveNames(t *testing.T) {
	names, err := os.ReadFile("option.go")
	require.NoError(t, err)
	for name := range numbers {
		require.Contains(t, string(names), fmt.Sprintf("newOption(%q)", name), "add %s to socket/option.go", name)
	}
}

func TestSetNothing(t *testing.T) {
	accepted, _ := pair(t)
	require.NoError(t, accepted.Close())
	require.Empty(t, refusals(t, accepted, nil))
}

func TestUnsupportedOption(t *testing.T) {
	missing := Option{Name: "SO_ELSEWHERE"}
	require.False(t, missing.Supported())
	accepted, _ := pair(t)
	got := refusals(t, accepted, []Setting{to(missing, 1), to(NoDelay, 0)})
	require.Len(t, got, 1)
	require.ErrorIs(t, got[missing.Name], errors.ErrUnsupported)
	_, err := Get(accepted, missing)
	require.ErrorIs(t, err, errors.ErrUnsupported)
}
