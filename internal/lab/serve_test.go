package lab

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServers(t *testing.T) {
	for name, start := range map[string]func(testing.TB, string){
		"nginx":       Nginx,
		"HAProxy":     HAProxy,
		"Paste":       func(t testing.TB, addr string) { Paste(t, addr) },
		"http.server": func(t testing.TB, addr string) { PythonHTTP(t, addr) },
	} {
		t.Run(name, func(t *testing.T) {
			addr := Address(t)
			start(t, addr)
			resp, err := http.Get("http://" + addr)
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, Stars, body)
		})
	}
}
