package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// traffic is clients that send requests until they are stopped.
type traffic struct {
	addr    string
	paths   []string      // of the requests, in turn
	pause   time.Duration // after each request of a client
	going   sync.WaitGroup
	stopped chan struct{}

	served  atomic.Int64 // requests with the whole payload
	dropped atomic.Int64 // requests without a byte in response
	broken  atomic.Int64 // all others
	err     atomic.Value // of the last one that broke, as text
}

func newTraffic(addr string, paths ...string) *traffic {
	return &traffic{addr: addr, paths: append(paths, "/"), stopped: make(chan struct{})}
}

func (tr *traffic) String() string {
	return fmt.Sprintf("%d requests served, %d dropped, %d broken: %v",
		tr.served.Load(), tr.dropped.Load(), tr.broken.Load(), tr.err.Load())
}

func (tr *traffic) start(clients int) {
	for i := range clients {
		tr.going.Go(func() { tr.client(i%2 == 0) })
	}
}

func (tr *traffic) stop() {
	close(tr.stopped)
	tr.going.Wait()
}

func (tr *traffic) client(keepAlive bool) {
	transport := &http.Transport{DisableKeepAlives: !keepAlive}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: lab.Patience}
	for i := 0; ; i++ {
		select {
		case <-tr.stopped:
			return
		case <-time.After(tr.pause):
			tr.request(client, tr.paths[i%len(tr.paths)])
		}
	}
}

func (tr *traffic) request(client *http.Client, path string) {
	answered := false
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		GotFirstResponseByte: func() { answered = true },
	})
	err := lab.Get(ctx, client, "http://"+tr.addr+path)
	switch {
	case err == nil:
		tr.served.Add(1)
	case !answered && !os.IsTimeout(err):
		tr.dropped.Add(1)
	default:
		tr.broken.Add(1)
		tr.err.Store(err.Error())
	}
}
