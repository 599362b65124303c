package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

const upstreamTCPInfo = "http.reverse_proxy.upstream.tcp_info."

// TestUpstreamTCPInfo reads the placeholders of the connection that carried the request.
func TestUpstreamTCPInfo(t *testing.T) {
	h1 := serveStars(t)
	nobody := lab.Address(t)
	h2 := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	h2.EnableHTTP2 = true
	h2.StartTLS()
	t.Cleanup(h2.Close)
	unixPath := filepath.Join(t.TempDir(), "socket")
	ln, err := net.Listen("unix", unixPath)
	require.NoError(t, err)
	local := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = local.Serve(ln) }()
	t.Cleanup(func() { local.Close() })
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	h3 := &http3.Server{TLSConfig: http3.ConfigureTLSConfig(h2.TLS.Clone()), Handler: local.Handler}
	go func() { _ = h3.Serve(udp) }()
	t.Cleanup(func() { h3.Close() })

	var shown strings.Builder
	for _, f := range socket.Figures {
		fmt.Fprintf(&shown, "header_down %s {%s%s}\n", f.Name, upstreamTCPInfo, f.Name)
	}
	shown.WriteString("header_down congestion {" + upstreamTCPInfo + "congestion}\n")
	const reno = "socket {\ncongestion reno\n}\n"
	insecure := "tls_insecure_skip_verify\n"
	cases := []struct {
		name, upstreams, transport string
		measured                   bool
	}{
		{"HTTP/1.1", h1, reno, true},
		{"HTTP/1.1 without acknowledgements", h1, "socket {\nquickack off\ncongestion reno\n}", true},
		{"timeouts", h1, reno + "read_timeout 20s", true},
		{"HTTP/2", h2.Listener.Addr().String(), reno + insecure, true},
		{"sent again", nobody + " " + h1, reno, true},
		{"Unix socket", "unix/" + unixPath, reno, false},
		{"HTTP/3", udp.LocalAddr().String(), insecure + "versions 3", false},
	}
	var sites strings.Builder
	addrs := make([]string, len(cases))
	for i, test := range cases {
		addrs[i] = lab.Address(t)
		fmt.Fprintf(&sites, "http://%s {\nreverse_proxy %s {\nlb_policy first\nlb_retries 1\nfail_duration 1m\n%stransport sockopt {\n%s\n}\n}\n}\n",
			addrs[i], test.upstreams, &shown, test.transport)
	}
	inprocess.Run(t, "", sites.String())

	for i, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			var resp *http.Response
			for range 3 { // the kernel has measured something by the last
				var err error
				resp, err = http.Get("http://" + addrs[i])
				require.NoError(t, err)
				resp.Body.Close()
				require.Equal(t, http.StatusOK, resp.StatusCode)
			}
			if !test.measured {
				require.Empty(t, resp.Header.Get("Congestion"))
				for _, f := range socket.Figures {
					require.Empty(t, resp.Header.Get(f.Name), f.Name)
				}
				return
			}
			require.Equal(t, "reno", resp.Header.Get("Congestion"))
			for _, name := range []string{"Rtt", "Rcv_space", "Bytes_acked", "Snd_cwnd"} {
				number, err := strconv.ParseFloat(resp.Header.Get(name), 64)
				require.NoError(t, err, name)
				require.Positive(t, number, name)
			}
		})
	}
}

// TestUpstreamRTTExample: the log has both round-trip times.
func TestUpstreamRTTExample(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	text := strings.NewReplacer("127.0.0.1:9000", serveStars(t), "\tlog\n", "\tlog {\n\t\toutput file "+file+"\n\t}\n").
		Replace(example(t, "upstream-rtt.Caddyfile"))
	_, at := runExample(t, "upstream-rtt.Caddyfile", text)
	resp := getFromExample(t, at, ":8443", "")
	_, err := io.Copy(io.Discard, resp.Body) // who leaves before the end is not logged
	require.NoError(t, err)
	resp.Body.Close()
	var entry map[string]any
	require.NoError(t, lab.Eventually("the request is logged", func() (bool, error) {
		logged, _ := os.ReadFile(file)
		return json.Unmarshal(logged, &entry) == nil, nil
	}))
	for _, rtt := range []string{"client_rtt", "backend_rtt"} {
		require.Greater(t, entry[rtt], 0.0, rtt)
		require.Less(t, entry[rtt], 60.0, rtt)
	}
}
