package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// watch asks Caddy once a second who is connected, in the long form. stop ends that, and fails the
// test where an answer was none.
func (e *exposed) watch(t *testing.T) (stop func()) {
	if !lab.IsLong() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	rounds, most := 0, 0
	go func() {
		every := time.NewTicker(time.Second)
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				ended <- nil
				return
			case <-every.C:
			}
			matched, err := e.look()
			if err != nil {
				ended <- err
				return
			}
			rounds++
			most = max(most, matched)
		}
	}()
	return func() {
		t.Helper()
		cancel()
		require.NoError(t, <-ended)
		t.Logf("asked %d times who is connected: up to %d at once", rounds, most)
		require.Positive(t, most)
	}
}

// look asks for all connections, the peers that wait, and the metrics. It returns how many
// connections there are.
func (e *exposed) look() (connections int, err error) {
	var open openConnections
	var peers struct {
		Peers []map[string]any `json:"peers"`
	}
	for path, into := range map[string]any{"/sockopt/connections?limit=0": &open, "/sockopt/peers": &peers, "/metrics": nil} {
		code, answer, err := e.Ask(context.Background(), http.MethodGet, path, "", "")
		switch {
		case err == nil && code != http.StatusOK:
			err = fmt.Errorf("status %d: %s", code, answer)
		case err == nil && into != nil:
			err = json.Unmarshal([]byte(answer), into)
		case err == nil && !strings.Contains(answer, "\ncaddy_sockopt_open_connections{"):
			err = fmt.Errorf("no open connections in %s", answer)
		}
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
	}
	if len(open.Connections) != open.Matched || peers.Peers == nil {
		return 0, fmt.Errorf("%d connections shown, %d matched; peers: %v", len(open.Connections), open.Matched, peers.Peers)
	}
	return open.Matched, nil
}
