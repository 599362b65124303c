package sockopt

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

func TestServesPayload(t *testing.T) {
	for _, start := range []struct {
		name string
		with func(t testing.TB, global, sites string, wrap ...string) *lab.Running
	}{
		{"in this process", func(t testing.TB, global, sites string, _ ...string) *lab.Running {
			return inprocess.Run(t, global, sites)
		}},
		{"in its own process", spawn},
	} {
		t.Run(start.name, func(t *testing.T) {
			addr := lab.Address(t)
			start.with(t, "servers {\nlistener_wrappers {\nsockopt\n}\n}", fmt.Sprintf("http://%s {\necho_payload\n}", addr))
			resp, err := http.Get("http://" + addr)
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, bytes.Repeat([]byte("*"), 10_000), body)
			require.EqualValues(t, 10_000, resp.ContentLength)
		})
	}
}
