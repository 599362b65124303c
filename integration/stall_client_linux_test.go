package integration_test

import (
	"testing"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// A client with Nagle's algorithm on holds the second piece of a request back
// until the first one is acknowledged. In stock Caddy the kernel delays that by
// 40 ms (TCP_DELACK_MIN in the kernel's include/net/tcp.h).
func TestNagleClient(t *testing.T) {
	t.Parallel() // it waits most of the time
	var l lab.Sites
	for _, p := range []lab.Protocol{lab.Plain, lab.TLS, lab.H2C} {
		for _, w := range []lab.Wrapping{lab.Stock, lab.Auto, lab.On} {
			l.Add(t, w, p, "echo_payload")
		}
	}
	l.Spawn(t)

	for _, c := range l.All {
		t.Run(string(c.Protocol)+"/"+c.Name, func(t *testing.T) {
			client := c.DialNagle(t)
			ask := func() { client.Ask(t, client.SendInPieces) }
			if c.Wrapping == lab.Stock {
				requireStall(t, ask)
			} else {
				requireNoStall(t, ask)
			}
		})
	}
}
