package sockopt

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/needed"
)

// trace is the system calls of a Caddy, each as strace wrote it, such as
//
//	read(9<TCPv6:[[::ffff:127.0.0.1]:80->[::ffff:127.0.0.1]:50000]>, 0xc000, 4096) = -1 EAGAIN
type trace []string

// record runs the lineup under strace while f runs, and returns the system calls
// of the kinds named that Caddy made from its start to its end.
func (l *lineup) record(t *testing.T, calls string, f func(t *testing.T)) trace {
	t.Helper()
	strace := needed.Program(t, "strace") // skips this test, not the one below
	dir := t.TempDir()
	ok := t.Run("under strace", func(t *testing.T) {
		l.spawn(t, strace, "--follow-forks", "--seccomp-bpf", "--decode-fds=all", "--quiet=all",
			"--signal=none", "--trace="+calls, "--output="+filepath.Join(dir, "trace"))
		f(t)
	})
	require.True(t, ok)
	text, err := fs.ReadFile(os.DirFS(dir), "trace")
	require.NoError(t, err)
	return join(strings.Split(string(text), "\n"))
}

// join makes one line of a call that other threads interrupted in the log, and
// takes the threads' ids away.
func join(lines []string) trace {
	calls := make(trace, 0, len(lines))
	begun := make(map[string]string) // by thread
	for _, line := range lines {
		thread, call, _ := strings.Cut(line, " ")
		call = strings.TrimLeft(call, " ")
		if beginning, ok := strings.CutSuffix(call, " <unfinished ...>"); ok {
			begun[thread] = beginning
			continue
		}
		if strings.HasPrefix(call, "<... ") {
			_, end, _ := strings.Cut(call, " resumed>")
			call = begun[thread] + end
		}
		calls = append(calls, call)
	}
	return calls
}

// like returns the calls that match a pattern.
func (tr trace) like(pattern string) trace {
	re := regexp.MustCompile(pattern)
	var calls trace
	for _, call := range tr {
		if re.MatchString(call) {
			calls = append(calls, call)
		}
	}
	return calls
}

// result returns the sum of what the calls returned, without their errors.
func (tr trace) result(t *testing.T) int {
	t.Helper()
	sum := 0
	for _, call := range tr.like(` = \d+$`) {
		n, err := strconv.Atoi(call[strings.LastIndex(call, " ")+1:])
		require.NoError(t, err)
		sum += n
	}
	return sum
}

// onServer is the pattern of a descriptor that is a connection which the server
// accepted, as strace writes it.
func (c contender) onServer(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(c.addr)
	require.NoError(t, err)
	return `\d+<TCP[^>]*:` + port + `->[^>]*>`
}
