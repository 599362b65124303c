package integration_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestLinkDown: the link to a backend goes down with requests in flight. Those whose bytes
// are not acknowledged end after user_timeout, those that only wait for the response after
// keepalive has found out. With transport http they would wait for minutes. The next
// request takes another connection.
func TestLinkDown(t *testing.T) {
	t.Parallel()                      // it waits most of the time
	const patience = 20 * time.Second // ten times what it takes
	options := with("user_timeout 1s", "keepalive_idle 1s", "keepalive_interval 1s")
	for _, test := range []struct {
		name, versions string
		requests       int
		uploads        bool
	}{
		{"HTTP/1.1, waiting", "1.1", 1, false},
		{"HTTP/1.1, uploading", "1.1", 1, true},
		{"HTTP/2, waiting", "h2c", 5, false},
		{"HTTP/2, uploading", "h2c", 5, true},
	} {
		if test.uploads != (test.requests > 1) && !lab.IsLong() {
			continue // the short form has one of each
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if !isolated(t) {
				return
			}
			var mu sync.Mutex
			seen := make(map[string]int) // requests by connection
			arrived := make(chan struct{})
			n := newNetwork(t, func(_ http.ResponseWriter, r *http.Request) {
				mu.Lock()
				seen[r.RemoteAddr]++
				mu.Unlock()
				if r.URL.Path == "/held" {
					if !test.uploads {
						_, _ = io.Copy(io.Discard, r.Body)
					}
					arrived <- struct{}{}
					<-r.Context().Done()
				}
			})
			ip(t, nil, "route", "add", behind, "via", n.Far)
			versions := "versions " + test.versions + "\n"
			var addrs []string
			var sites strings.Builder
			for _, transport := range []string{"transport http {\n" + versions + "}", strings.Replace(options, "socket", versions+"socket", 1)} {
				addr := lab.Address(t)
				addrs = append(addrs, addr)
				fmt.Fprintf(&sites, "http://%s {\nreverse_proxy %s {\n%s\n}\n}\n", addr, n.addr, transport)
			}
			lab.Spawn(t, "", sites.String())

			ended := make([]chan int, len(addrs)) // statuses
			unsent := make(chan struct{})
			for i, addr := range addrs {
				ended[i] = make(chan int, test.requests)
				for range test.requests {
					body := io.Reader(http.NoBody)
					if test.uploads {
						body = io.MultiReader(strings.NewReader("begin"), waiting(unsent), strings.NewReader(strings.Repeat("x", 64<<10)))
					}
					go func() {
						resp, err := http.Post("http://"+addr+"/held", "text/plain", body)
						if err != nil {
							ended[i] <- 0
							return
						}
						resp.Body.Close()
						ended[i] <- resp.StatusCode
					}()
					<-arrived
				}
			}
			mu.Lock()
			require.Len(t, seen, 2, "one connection for each transport")
			mu.Unlock()

			require.NoError(t, n.Unplug())
			close(unsent)
			limit := time.After(patience)
			for range test.requests {
				select {
				case status := <-ended[1]:
					require.Contains(t, []int{http.StatusGatewayTimeout, http.StatusBadGateway}, status)
				case <-limit:
					t.Fatal("a request goes on without a link")
				}
			}
			require.Empty(t, ended[0], "transport http waits")

			require.NoError(t, n.Plug())
			ip(t, nil, "route", "replace", behind, "via", n.Far)
			// On a busy machine a handshake takes longer than user_timeout, too.
			require.NoError(t, lab.Eventually("a request arrives again", func() (bool, error) {
				status, _ := statusAndBody(t, "http://"+addrs[1])
				return status == http.StatusOK, nil
			}))
			mu.Lock()
			require.Len(t, seen, 3, "the next request takes another connection")
			mu.Unlock()
		})
	}
}

// waiting is a reader that is at its end once the channel is closed.
type waiting <-chan struct{}

func (w waiting) Read([]byte) (int, error) {
	<-w
	return 0, io.EOF
}
