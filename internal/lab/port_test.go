package lab

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPortsDiffer(t *testing.T) {
	picked, err := Ports(Loopback, 50)
	require.NoError(t, err)
	seen := make(map[int]bool)
	for range 50 {
		picked = append(picked, Port(t))
	}
	for _, port := range picked[50:] {
		require.Positive(t, port)
		require.False(t, seen[port])
		seen[port] = true
	}
}
