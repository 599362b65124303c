package integration_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// echoBackend agrees to every upgrade and then returns what it is sent.
func echoBackend(t *testing.T) (addr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, stream, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		if err == nil {
			_, _ = io.Copy(conn, stream)
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}
