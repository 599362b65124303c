package apps_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// typical returns how long the median request takes of a client with Nagle's algorithm on
// that sends each in pieces.
func typical(t *testing.T, site lab.Site) time.Duration {
	t.Helper()
	client := site.DialNagle(t)
	const warmUp, requests = 20, 9
	return lab.Median(client.Times(t, client.SendInPieces, warmUp, requests))
}

const (
	delayedAck = 35 * time.Millisecond // less than the kernel delays an acknowledgement
	quick      = 10 * time.Millisecond
)

// TestLayer4 compares the layer4 app on ordinary addresses and on the network sockopt/, where
// it forwards bytes and where it terminates TLS.
func TestLayer4(t *testing.T) {
	backend := lab.ServeStars(0)
	t.Cleanup(backend.Close)
	certificate := lab.Certify(t)
	site := func(p lab.Protocol) lab.Site {
		return lab.Site{Protocol: p, Addr: lab.Address(t), Roots: certificate.Roots}
	}
	stock, bare := map[lab.Protocol]lab.Site{}, map[lab.Protocol]lab.Site{}
	var servers strings.Builder
	for p, handlers := range map[lab.Protocol]string{lab.Plain: "", lab.TLS: "tls\n"} {
		stock[p], bare[p] = site(p), site(p)
		for _, address := range []string{stock[p].Addr, "sockopt/" + bare[p].Addr} {
			fmt.Fprintf(&servers, "%s {\nroute {\n%sproxy %s\n}\n}\n", address, handlers, backend.Listener.Addr())
		}
	}
	// The site has the certificate loaded.
	c := lab.Spawn(t, "layer4 {\n"+servers.String()+"}", fmt.Sprintf("https://%s {\ntls %s %[2]s\n}", lab.Address(t), certificate.File))
	for _, p := range []lab.Protocol{lab.Plain, lab.TLS} {
		require.Greater(t, typical(t, stock[p]), delayedAck, p)
		require.Less(t, typical(t, bare[p]), quick, p)
		require.Positive(t, acknowledged(t, c, bare[p].Addr), p)
	}
	require.Equal(t, -1, acknowledged(t, c, stock[lab.Plain].Addr))
}

// TestLayer4Page runs the Caddyfile of docs/bind.md.
func TestLayer4Page(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(lab.Root(), "docs", "bind.md"))
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```\n\\{\n(\tlayer4 .*?)\n\\}\n```").FindSubmatch(page)
	require.NotNil(t, block)
	backend := lab.ServeStars(0)
	t.Cleanup(backend.Close)
	certificate := lab.Certify(t)
	site := lab.Site{Protocol: lab.TLS, Addr: lab.Address(t), Roots: certificate.Roots}
	global := strings.NewReplacer("sockopt/:993", "sockopt/"+site.Addr, "127.0.0.1:143", backend.Listener.Addr().String()).Replace(string(block[1]))
	require.Contains(t, global, "sockopt/"+site.Addr)
	lab.Spawn(t, global, fmt.Sprintf("https://%s {\ntls %s %[2]s\n}", lab.Address(t), certificate.File))
	require.Less(t, typical(t, site), quick)
}

// acknowledged returns a counter of a listener in GET /sockopt/, or -1 where it has none.
func acknowledged(t *testing.T, c *lab.Running, addr string) int {
	t.Helper()
	status, text := c.API(http.MethodGet, "/sockopt/", "", "")
	require.Equal(t, http.StatusOK, status, text)
	var answer struct {
		Listeners []struct {
			Address  string `json:"address"`
			QuickAck string `json:"quickack"`
			Counters struct {
				Acknowledged int `json:"acknowledged"`
			} `json:"counters"`
		} `json:"listeners"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &answer), text)
	for _, l := range answer.Listeners {
		if l.Address == addr {
			require.Equal(t, "auto", l.QuickAck)
			return l.Counters.Acknowledged
		}
	}
	return -1
}

// TestLayer4Wrapper has layer4 among a server's listener wrappers, before and after sockopt.
func TestLayer4Wrapper(t *testing.T) {
	backend := lab.ServeStars(0)
	t.Cleanup(backend.Close)
	layer4 := fmt.Sprintf("layer4 {\nroute {\nproxy %s\n}\n}\n", backend.Listener.Addr())
	before, after := lab.Site{Protocol: lab.Plain, Addr: lab.Address(t)}, lab.Site{Protocol: lab.Plain, Addr: lab.Address(t)}
	global := fmt.Sprintf("servers :%s {\nlistener_wrappers {\nsockopt\n%s}\n}\nservers :%s {\nlistener_wrappers {\n%[2]ssockopt\n}\n}",
		lab.PortOf(before.Addr), layer4, lab.PortOf(after.Addr))
	c := lab.Spawn(t, global, lab.EchoSite(before.Addr)+"\n"+lab.EchoSite(after.Addr))
	require.Less(t, typical(t, before), quick)
	require.Greater(t, typical(t, after), delayedAck)
	require.Contains(t, c.Logged(), "quickack and metrics have no effect behind another listener wrapper; list sockopt before it")
}
