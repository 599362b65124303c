package sockopt

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSupportOfThisKernel fails where the kernel is new enough for an option, and
// yet the option is not supported.
func TestSupportOfThisKernel(t *testing.T) {
	for _, r := range rows {
		s := r.support()
		require.Equal(t, r.since == "" || kernelHas(r.since), s.Supported, r.name)
		if !s.Supported {
			require.Equal(t, "Linux "+r.since, s.Needs)
		}
		for name := range s.Sysctl {
			require.Contains(t, []string{r.bounds, r.permits}, name)
		}
	}
}
