package lab

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseTrace(t *testing.T) {
	trace := ParseTrace(`100  read(9<socket:[1]>, ""..., 4096) = 78
100  read(9<socket:[1]>,  <unfinished ...>
101  write(10<socket:[2]>, ""..., 500) = 500
100  <... read resumed>""..., 4096) = 22
100  read(9<socket:[1]>, 0xc0001, 4096)     = -1 EAGAIN (Resource temporarily unavailable)
100  read(9<socket:[1]>, ""..., 1)          = 1
100  write(4<anon_inode:[eventfd]>, ""..., 8) = 8
102  sendfile(9<socket:[1]>, 11</large.bin>, NULL, 65536) = 65536
102  accept4(3<socket:[3]>, {sa_family=AF_INET}, [16], SOCK_CLOEXEC) = 12<socket:[4]>
102  +++ exited with 0 +++
`)
	require.Equal(t, map[string]Calls{
		"read":     {3, 100},
		"write":    {1, 500},
		"sendfile": {1, 65536},
		"accept4":  {1, 12},
	}, trace.OnSockets())
	require.Len(t, trace.Like(`^read\(9`), 4)
	require.Equal(t, 101, trace.Like(`^read\(9`).Returned())
}

func TestAttach(t *testing.T) {
	OtherProcess(t)
	Require(t, "strace")
	cmd := Command(t.Context(), "cat")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	p, err := Start(cmd)
	require.NoError(t, err)
	defer p.End()
	s, err := Attach(filepath.Join(t.TempDir(), "trace"), "write", p.Process.Pid)
	require.NoError(t, err)
	_, err = io.WriteString(stdin, "hello")
	require.NoError(t, err)
	require.NoError(t, p.Await("it wrote", func() bool { return p.Printed() == "hello" }))
	require.NoError(t, stdin.Close())
	<-p.Ended()
	trace, err := s.Detach()
	require.NoError(t, err)
	require.Equal(t, 5, trace.Like(`^write\(1`).Returned(), trace)
}
