package sockopt

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

func TestMain(m *testing.M) { lab.Main(m, caddycmd.Main) }

func TestServesPayload(t *testing.T) {
	for _, start := range []struct {
		name string
		with func(t testing.TB, global, sites string) *lab.Running
	}{
		{"in this process", inprocess.Run},
		{"in its own process", func(t testing.TB, global, sites string) *lab.Running { return lab.Spawn(t, global, sites) }},
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
