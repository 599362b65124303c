package lab

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPortsDiffer(t *testing.T) {
	seen := make(map[int]bool)
	for range 50 {
		port := Port(t)
		require.Positive(t, port)
		require.False(t, seen[port])
		seen[port] = true
	}
}
