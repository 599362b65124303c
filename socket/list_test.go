package socket

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestList(t *testing.T) {
	var l, other List
	a, b, c := new(Conn), new(Conn), new(Conn)
	for _, conn := range []*Conn{a, b, c} {
		l.Add(conn)
	}
	require.Equal(t, []*Conn{c, b, a}, l.Append(nil))
	other.Remove(b) // it is in another list
	l.Remove(b)
	l.Remove(b)
	require.Equal(t, []*Conn{c, a}, l.Append(nil))
	l.Add(b)
	l.Remove(b)
	l.Remove(c)
	l.Remove(a)
	require.Empty(t, l.Append(nil))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		l.Add(a)
		l.Remove(a)
	}))
}
