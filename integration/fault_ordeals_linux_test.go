package integration_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// ordeal is one kind of bad clients: what many of them do to a Caddy at once, and the
// options of the listener that are meant for them. Each is a row of TestFaults.
type ordeal struct {
	name string

	// clients is how many there are, in the shorter and in the longer form.
	clients, longer int

	// options are those of the listener, timeouts those of the server.
	options, timeouts []string

	// act has the clients do it. It returns when they are done, with an error where
	// Caddy did something wrong.
	act func(e *exposed, clients int) error

	vanish bool // clients and a backend are in a network namespace whose link goes down
}

var ordeals = []ordeal{
	{
		name: "accept storm with resets", clients: 600, longer: 200_000,
		act: func(e *exposed, clients int) error { return e.behave(clients, 200, resets) },
	},
	{
		name: "half-open peers", clients: 160, longer: 10_000,
		timeouts: []string{"read_header 3s", "read_body 3s", "idle 3s"},
		act:      func(e *exposed, clients int) error { return e.behave(clients, 400, halfOpen) },
	},
	{
		name: "slow readers", clients: 24, longer: 1_000,
		options: []string{"send_buffer 64KiB"},
		act:     slowReaders,
	},
	{
		name: "large send buffers", clients: 8, longer: 128,
		options: []string{"send_buffer " + sendBuffer.String()},
		act:     largeSendBuffers,
	},
	{
		name: "short connections", clients: 500, longer: 1_000_000,
		act: func(e *exposed, clients int) error { return e.behave(clients, 16, short) },
	},
	{
		name: "peers that vanish", clients: 16, longer: 400,
		options: []string{"user_timeout 3s", "keepalive_idle 1s", "keepalive_interval 1s", "keepalive_count 3"},
		act:     vanish, vanish: true,
	},
}

// TestFaults exposes Caddy to each ordeal, and to each while configurations are
// loaded. Clients that behave get the whole payload all the while; in the end
// nothing is left of the others.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, o := range ordeals {
		if lab.IsLong() {
			t.Run(o.name, func(t *testing.T) { o.test(t, false) })
		}
		t.Run(o.name+" while configurations are loaded", func(t *testing.T) { o.test(t, true) })
	}
}

func (o ordeal) test(t *testing.T, loading bool) {
	e := expose(t, o)
	e.loading = loading
	clients := lab.Long(o.clients, o.longer)
	good := newTraffic(e.addr, "/routed", "/proxied")
	good.pause = e.pause
	good.start(2)
	done := make(chan error, 1)
	go func() { done <- o.act(e, clients) }()
	stop := e.watch(t)
	loads, err := e.loadUntil(t, done, clients)
	good.stop()
	stop()
	t.Logf("%d clients, %d of them cut by %d loads; clients that behave: %v", clients, e.cut.Load(), loads, good)

	require.NoError(t, err)
	require.Zero(t, good.broken.Load(), good)
	require.Positive(t, good.served.Load())
	if !loading {
		require.Zero(t, good.dropped.Load(), good)
	}
	e.requireRest(t)
}
