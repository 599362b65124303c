package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Trace is system calls, each as strace writes it, such as
//
//	read(9<TCPv6:[[::ffff:127.0.0.1]:80->[::ffff:127.0.0.1]:50000]>, 0xc000, 4096) = -1 EAGAIN
type Trace []string

// Record runs the sites under strace while f runs, and returns the system calls of the
// given kinds that Caddy made from its start to its end.
func (s *Sites) Record(t *testing.T, calls string, f func(t *testing.T)) Trace {
	t.Helper()
	OtherProcess(t)
	strace := Require(t, "strace") // skips this test, not the one below
	file := filepath.Join(t.TempDir(), "trace")
	ok := t.Run("under strace", func(t *testing.T) {
		s.Spawn(t, strace, "--follow-forks", "--seccomp-bpf", "--decode-fds=all", "--quiet=all",
			"--signal=none", "--trace="+calls, "--output="+file)
		f(t)
	})
	require.True(t, ok)
	text, err := os.ReadFile(file) //nolint:gosec // of this test
	require.NoError(t, err)
	return ParseTrace(string(text))
}

// ParseTrace makes one line of a call that others interrupted in the log, and takes the
// threads' ids away.
func ParseTrace(text string) Trace {
	var calls Trace
	begun := make(map[string]string) // by thread
	for line := range strings.Lines(text) {
		thread, call, _ := strings.Cut(strings.TrimSpace(line), " ")
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

// Like returns the calls that match a pattern.
func (t Trace) Like(pattern string) Trace {
	re := regexp.MustCompile(pattern)
	var calls Trace
	for _, call := range t {
		if re.MatchString(call) {
			calls = append(calls, call)
		}
	}
	return calls
}

// Returned returns the sum of what the calls returned, without their errors.
func (t Trace) Returned() int {
	sum := 0
	for _, call := range t.Like(` = \d+$`) {
		n, _ := strconv.Atoi(call[strings.LastIndex(call, " ")+1:]) // the pattern is a number
		sum += n
	}
	return sum
}

// Descriptor is the pattern of a descriptor that is a connection which the site accepted,
// as strace writes it.
func (s Site) Descriptor() string { return `\d+<TCP[^>]*:` + PortOf(s.Addr) + `->[^>]*>` }

// Calls is how often a system call was made on sockets, and the sum of what it returned:
// mostly bytes.
type Calls struct{ Count, Returned float64 }

var tracedCall = regexp.MustCompile(`^(\w+)\((.*)\) += (-?\d+)`)

// OnSockets counts the calls on sockets by name. Reads of one byte are left out: with
// them net/http looks whether the client leaves, as often as the scheduler happens to
// run it.
func (t Trace) OnSockets() map[string]Calls {
	counted := make(map[string]Calls)
	for _, call := range t {
		match := tracedCall.FindStringSubmatch(call)
		if match == nil || !strings.Contains(match[2], "<socket:") || match[1] == "read" && strings.HasSuffix(match[2], ", 1") {
			continue
		}
		c := counted[match[1]]
		c.Count++
		if returned, err := strconv.ParseFloat(match[3], 64); err == nil && returned > 0 {
			c.Returned += returned
		}
		counted[match[1]] = c
	}
	return counted
}

// Strace is a strace that watches processes which run already.
type Strace struct {
	process *Process
	file    string
}

// Attach has strace write the calls of processes to a file, from now on.
func Attach(file, calls string, pids ...int) (*Strace, error) {
	path, err := Find("strace")
	if err != nil {
		return nil, err
	}
	args := []string{"--follow-forks", "--decode-fds=path", "--signal=none", "--string-limit=0", "--trace=" + calls, "--output=" + file}
	for _, pid := range pids {
		args = append(args, fmt.Sprint("--attach=", pid))
	}
	p, err := Start(Command(context.Background(), path, args...))
	if err != nil {
		return nil, err
	}
	err = p.Await("strace attached", func() bool { return strings.Count(p.Printed(), " attached") >= len(pids) })
	if err != nil {
		p.End()
		return nil, err
	}
	return &Strace{p, file}, nil
}

// Trace returns the calls so far.
func (s *Strace) Trace() (Trace, error) {
	text, err := os.ReadFile(s.file)
	return ParseTrace(string(text)), err
}

// Detach ends strace and returns all calls.
func (s *Strace) Detach() (Trace, error) {
	_ = s.process.Process.Signal(os.Interrupt) // it may have ended
	<-s.process.Ended()
	var exit *exec.ExitError
	if err := s.process.err; err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("%w: %s", err, s.process.Printed())
	}
	return s.Trace()
}
