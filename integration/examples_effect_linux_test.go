package integration_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/options"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// inEffect is an option that an example names, with the effective value, or none
// where that is the kernel's business.
type inEffect struct{ port, option, requested, effective string }

// exampleOptions are all options that the examples name for a listener wrapper,
// but quickack, which the kernel does not remember.
var exampleOptions = map[string][]inEffect{
	"bulk-downloads.Caddyfile": {
		{":8443", "notsent_lowat", "256KiB", "256KiB"},
		{":8443", "congestion", "bbr", "bbr"},
		{":8443", "user_timeout", "10m", "10m"},
	},
	"busy-edge.Caddyfile": {
		{":8443", "user_timeout", "30s", "30s"},
		{":8443", "multipath", "off", "off"},
		{":8443", "backlog", "16384", ""}, // net.core.somaxconn
		{":8443", "defer_accept", "5s", "7s"},
		{":8443", "fastopen", "1024", ""}, // net.core.somaxconn
	},
	"dscp.Caddyfile": {
		{":8443", "dscp", "af21", "af21"},
	},
	"edge.Caddyfile": {
		{":8443", "user_timeout", "2m", "2m"},
	},
	"low-latency.Caddyfile": {
		{":8443", "notsent_lowat", "16KiB", "16KiB"},
		{":8443", "thin_stream", "on", "on"},
		{":8443", "user_timeout", "20s", "20s"},
		{":8443", "rto_min", "50ms", ""}, // the kernel's clock
	},
	"mobile-clients.Caddyfile": {
		{":8443", "keepalive", "on", "on"},
		{":8443", "keepalive_idle", "30s", "30s"},
		{":8443", "keepalive_interval", "10s", "10s"},
		{":8443", "keepalive_count", "3", "3"},
		{":8443", "user_timeout", "1m", "1m"},
		{":8443", "fin_timeout", "15s", "15s"},
		{":8443", "rto_max", "5s", "5s"},
	},
}

// TestExamplesAreInEffect reads the options that an example names from the sockets
// that have them, and from the admin API.
func TestExamplesAreInEffect(t *testing.T) {
	for name, named := range exampleOptions {
		t.Run(name, func(t *testing.T) {
			c, at := runExample(t, name, example(t, name))
			for port, uses := range byPort(named) {
				shown := statusOf(t, c).listener(t, at[port])
				var left []options.Effect
				for _, e := range shown.Options {
					if e.Option != "quickack" {
						left = append(left, e)
					}
				}
				require.Len(t, left, len(uses), "the options that the example names")
				ln, conn := socketsOf(t, at[port])
				for i, want := range uses {
					t.Run(want.option, func(t *testing.T) { want.require(t, left[i], ln, conn) })
				}
			}
		})
	}
}

// TestHTTP3Example fetches over HTTP/3.
func TestHTTP3Example(t *testing.T) {
	requireRoot(t)
	here, at := moved(t, example(t, "http3.Caddyfile"))
	inprocess.Load(t, here)
	c := lab.Attached(t, "localhost"+at[":2019"])
	transport := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // the test's own
	defer transport.Close()
	requirePayload(t, &http.Client{Transport: transport, Timeout: lab.Patience}, "https://localhost"+at[":8443"])
	uses := datagramUses(t, c)
	require.Len(t, uses, 1)
	require.Equal(t, []string{"recv_buffer 16MiB", "send_buffer 8MiB", "dscp af21"}, uses[0].effects())
	require.True(t, uses[0].Metrics)
}

// require compares what is wanted with what the admin API shows, and that with
// what the kernel says.
func (want inEffect) require(t *testing.T, shown options.Effect, ln *net.TCPListener, conn *net.TCPConn) {
	t.Helper()
	require.Equal(t, want.option, shown.Option)
	require.Equal(t, want.requested, shown.Requested)
	o := supportOf(t, want.option)
	if shown.LeftOut != "" {
		require.False(t, o.Supported && want.option != "congestion", "this kernel has it: %s", shown.LeftOut)
		t.Skip(shown.LeftOut)
	}
	if want.effective != "" {
		require.Equal(t, want.effective, shown.Effective)
	}
	if want.option == "multipath" {
		return // a setting of Go, which no socket has
	}
	read := shown.Effective
	if shown.GetSockOpt != nil {
		read = fmt.Sprint(*shown.GetSockOpt)
	}
	kernel := heldBy(t, want.option)
	if want.option == "linger" || want.option == "dscp" {
		read = kernel.Read(t, conn) // shown as another number than the kernel's
	}
	if slices.Contains(o.Phases, "listen") {
		require.Equal(t, read, kernel.Read(t, ln), "on the listening socket")
	}
	if slices.Contains(o.Phases, "accept") {
		require.Equal(t, read, kernel.Read(t, conn), "on the accepted connection")
	}
}

// byPort sorts options by their ports.
func byPort(options []inEffect) map[string][]inEffect {
	sorted := make(map[string][]inEffect)
	for _, o := range options {
		sorted[o.port] = append(sorted[o.port], o)
	}
	return sorted
}

// runExample serves the text of an example, with the observer behind every
// sockopt, and returns what became of each port.
func runExample(t *testing.T, name, text string) (c *lab.Running, at map[string]string) {
	t.Helper()
	here, at := moved(t, text)
	adapted, err := inprocess.Adapt(here)
	require.NoError(t, err)
	const wrapper = `"wrapper":"sockopt"}`
	require.Contains(t, string(adapted), wrapper, name)
	observed := strings.ReplaceAll(string(adapted), wrapper, wrapper+`,{"wrapper":"`+inprocess.Observer+`"}`)
	require.True(t, json.Valid([]byte(observed)))
	inprocess.LoadJSON(t, []byte(observed))
	return lab.Attached(t, "localhost"+at[":2019"]), at
}

// socketsOf returns the listening socket of a port and a connection that it
// accepted. A byte is sent over it: some wait for one.
func socketsOf(t *testing.T, port string) (*net.TCPListener, *net.TCPConn) {
	t.Helper()
	client, err := net.Dial("tcp", "127.0.0.1"+port)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	_, err = client.Write([]byte("G"))
	require.NoError(t, err)
	conn, _ := inprocess.AcceptedSocket(t, client)
	return inprocess.ListeningSocket(t, "127.0.0.1"+port), conn
}

// TestLowLatencyExampleCarriesWebSockets has messages pass through the example's
// transport.
func TestLowLatencyExampleCarriesWebSockets(t *testing.T) {
	const name, backend = "low-latency.Caddyfile", "localhost:9000"
	text := example(t, name)
	require.Contains(t, text, backend)
	c, at := runExample(t, name, strings.ReplaceAll(text, backend, echoBackend(t)))
	conn, err := tls.Dial("tcp", "localhost"+at[":8443"], &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	upgradeAndEchoOn(t, conn, "localhost")
	transports := statusOf(t, c).Transports
	require.Len(t, transports, 1)
	require.Equal(t, "auto", transports[0].QuickAck)
	require.EqualValues(t, 1, transports[0].Counters.Connections)
}

// TestTCPInfoExample reads the header that it sets from a placeholder.
func TestTCPInfoExample(t *testing.T) {
	here, at := moved(t, example(t, "tcp-info.Caddyfile"))
	inprocess.Load(t, here)
	resp := getFromExample(t, at, ":8443", "")
	defer resp.Body.Close()
	require.Regexp(t, `^0\.\d+$`, resp.Header.Get("X-Round-Trip"))
	require.EqualValues(t, len(lab.Stars), resp.ContentLength, "the client is not far")
}

// TestByNetworkExample downloads as a client of a private network, and as one from
// elsewhere over a long path, for which loopback is made out to be one.
func TestByNetworkExample(t *testing.T) {
	const name = "by-network.Caddyfile"
	for _, far := range []bool{false, true} {
		t.Run(fmt.Sprintf("far %v", far), func(t *testing.T) {
			text := example(t, name)
			if far {
				for here, there := range map[string]string{"remote_ip private_ranges": "remote_ip 192.0.2.1", "rtt > 100ms": "rtt > 0s"} {
					require.Equal(t, 1, strings.Count(text, here), here)
					text = strings.Replace(text, here, there, 1)
				}
			}
			_, at := runExample(t, name, text)
			conn, err := tls.Dial("tcp", "localhost"+at[":8443"], &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test's own
			require.NoError(t, err)
			defer conn.Close()
			accepted, _ := inprocess.AcceptedSocket(t, conn.NetConn())
			pacing, congestion := heldBy(t, "pacing_rate"), heldBy(t, "congestion")
			rate, algorithm := pacing.Read(t, accepted), congestion.Read(t, accepted)
			if far {
				rate = fmt.Sprint(5 << 20)
				bbr := socket.Setting{Option: socket.Congestion, Value: socket.Value{Text: "bbr"}}
				if refused, err := socket.Set(conn.NetConn().(*net.TCPConn), []socket.Setting{bbr}); err == nil && len(refused) == 0 {
					algorithm = "bbr" // this kernel has it
				}
			}
			_, err = fmt.Fprint(conn, "GET /downloads/file HTTP/1.1\r\nHost: localhost\r\n\r\n")
			require.NoError(t, err)
			_, err = conn.Read(make([]byte, 1))
			require.NoError(t, err)
			require.Equal(t, rate, pacing.Read(t, accepted))
			require.Equal(t, algorithm, congestion.Read(t, accepted))
		})
	}
}
